#!/bin/sh
# MindFormers' evaluation on CIFAR-100, under its protocol. From any folder, another model and any overrides if wanted:
#   sh clip_vit_b_32_eval_on_cifar100.sh [MODEL] [OVERRIDE …]
#   sh clip_vit_b_32_eval_on_cifar100.sh clip_vit_l_14@336 device=ascend dataset.root=/data/cifar-100-python
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
exec "${PYTHON:-python3}" -m zeroshot experiment=cifar100_mindformers model="$model" "$@"
