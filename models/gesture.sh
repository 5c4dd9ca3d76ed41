#!/bin/bash
# How models/gesture.pt was made: models/gesture.sh START.pt CLIPS WORK [SEED [EPOCHS [NAME]]]
#   START.pt  the network to go on from: models/gesture-sim.pt, and then, with seed 101 for 30 epochs, what came out
#   CLIPS     a folder with the six clips of DVS128 Gesture, as {train,test}/<class>/*.bs2, and 128x128 in sensor.txt
#   WORK      a folder for the simulated sets and the network, WORK/NAME.pt (gesture-SEED.pt)
#   EPOCHS    56, of 244 steps
# Ctrl-C, then the same command: what is complete is kept, and the training goes on where it stopped.
set -e
start=$(realpath "$1"); clips=$(realpath "$2"); seed=${4:-1}; out=${6:-gesture-$seed}.pt
mkdir -p "$3"; cd "$3"
for part in windows:160:6 varied:90:4 things:80:2 sessions:80:2 everyday:80:2; do
  IFS=: read -r name train test <<< "$part"
  plif data gesture-sim --part "$name" --train "$train" --test "$test" --seed 2601 --out "$name"
done

move=shift:16,scale:0.75-1.25,turn:0.12,thin:0.55,both:0.35,halo:0.3,noise:0.004,hot:3
sim=mirror:0.5,stretch:0.7-1.6,$move,idle:0.06,splice:0.25,shuffle:0.04,freeze:0.01,axes:0.02
onsets=mirror:0.5,stretch:0.7-1.4,$move,onset:0.5,rest:0.35
negatives=mirror:0.5,quarter:0.6,shift:20,scale:0.7-1.3,both:0.35,halo:0.3,noise:0.004,active:1
real=mirror:0.5,reverse:0.4,stretch:0.65-1.5,$move,idle:0.06,splice:0.25,shuffle:0.02

[ -f "${out%.pt}.resume.pt" ] && resume=--resume
OMP_NUM_THREADS=1 plif train 'c32k5s4-BN-PLIF-MPk2s2-{c96k3s1-BN-PLIF-MPk2s2}*2-DP-FC512-PLIF-DP-FC110-PLIF-APk10s10' --from "$start" \
  --data dvs128-gesture:windows --vary $sim --data dvs128-gesture:varied --vary $sim --data dvs128-gesture:sessions --vary $onsets \
  --data dvs128-gesture:everyday --vary $negatives --data dvs128-gesture:things --vary $negatives --data "folder:$clips" --vary $real \
  --mix 0.33,0.16,0.14,0.13,0.1,0.14 --framing duration:40ms,every=20ms,value=binary --T 24 --epochs "${5:-56}" --lr 1e-3 --recipe live \
  --protocol C --bn frozen --bias-limit 0.95 --dropout 0.1 --precision bf16 --clip-norm 1 --limit-test 48 --seed "$seed" --device cpu \
  --out "$out" $resume
