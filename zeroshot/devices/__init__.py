"""The devices that networks run on."""
