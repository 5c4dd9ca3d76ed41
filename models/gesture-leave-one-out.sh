#!/bin/bash
# "A class without its clip" in docs/decisions/gesture-shortcuts.md: models/gesture-leave-one-out.sh START.pt CLIPS WORK
# CLIPS: {train,test}/<class>/*.bs2, and 128x128 in sensor.txt. Seven trainings of one epoch, with all clips and without those of
# each class; then what each network answers to all of them, WORK/answers-CLASS/predictions.csv. WORK has, or gets, the simulated sets
# of docs/decisions/gesture-network.md.
set -e
start=$(realpath "$1"); clips=$(realpath "$2"); sets=()
mkdir -p "$3"; cd "$3"
for part in windows:160:6 varied:90:4 sessions:80:2 everyday:80:2 things:80:2; do
  IFS=: read -r name train test <<< "$part"
  plif data gesture-sim --part "$name" --train "$train" --test "$test" --seed 2601 --out "$name"
  sets+=(--data "dvs128-gesture:$name")
done
for left in nothing $(ls "$clips/train"); do
  if [ ! -d "without-$left" ]; then
    cp -r "$clips" "copy-$left"
    rm -rf "copy-$left"/*/"$left"
    mv "copy-$left" "without-$left"
  fi
  [ -f "without-$left.resume.pt" ] && resume=--resume || resume=
  OMP_NUM_THREADS=1 plif train gesture --from "$start" "${sets[@]}" --data "folder:without-$left" --epochs 1 \
    --out "without-$left.pt" $resume
  plif export "without-$left.pt" -o "without-$left.onnx"
  plif eval "without-$left.onnx" --data "folder:$clips" --engine event --out "answers-$left"
done
