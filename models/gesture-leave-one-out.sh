#!/bin/bash
# "Without a class's clip" in docs/gesture.md: models/gesture-leave-one-out.sh START.pt CLIPS WORK, as models/gesture.sh
# takes them. Seven trainings of one epoch, with all clips and without those of each class; then what each network answers to
# all of them, WORK/answers-CLASS/predictions.csv.
set -e
here=$(dirname "$(realpath "$0")"); start=$(realpath "$1"); clips=$(realpath "$2")
mkdir -p "$3"; cd "$3"
for left in nothing $(ls "$clips/train"); do
  if [ ! -d "without-$left" ]; then
    cp -r "$clips" "copy-$left"
    rm -rf "copy-$left"/*/"$left"
    mv "copy-$left" "without-$left"
  fi
  "$here/gesture.sh" "$start" "without-$left" . 1 1 "without-$left"
  plif export "without-$left.pt" -o "without-$left.onnx"
  plif eval "without-$left.onnx" --data "folder:$clips" --engine event --out "answers-$left"
done
