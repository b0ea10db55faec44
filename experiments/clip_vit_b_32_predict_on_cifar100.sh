#!/bin/sh
# MindFormers' prediction among the classes of CIFAR-100, under its protocol: the three best for each picture. From any
# folder, another model and any overrides if wanted:
#   sh clip_vit_b_32_predict_on_cifar100.sh [MODEL] stage.images=sunflower.png [OVERRIDE …]
#   sh clip_vit_b_32_predict_on_cifar100.sh clip_vit_b_16 stage.images=photos/ stage.top_k=5
set -eu
model=clip_vit_b_32
case ${1-} in
    '' | *=* | -*) ;;
    *) model=$1 && shift ;;
esac
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -d "$root/zeroshot" ]; then # a checkout, installed or not
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
fi
exec "${PYTHON:-python3}" -m zeroshot experiment=cifar100_predict model="$model" "$@"
