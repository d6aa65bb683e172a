#!/bin/sh
# Installs the program: install.sh FOLDER
set -e
mkdir -p "$1/bin"
cp slug "$1/bin/slug"
chmod 755 "$1/bin/slug"
