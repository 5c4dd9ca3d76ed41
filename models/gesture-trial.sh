#!/bin/bash
# The trial of docs/gesture.md: models/gesture-trial.sh START.pt CLIPS WORK [SEED]
#   START.pt  the network to go on from: models/gesture-sim.pt
#   CLIPS     folder:CLIPS with the six clips of DVS128 Gesture, as {train,test}/<class>/*.bs2, and 128x128 in sensor.txt
#   WORK      a folder for the simulated sets and the networks
set -e
start=$(realpath "$1"); clips=$(realpath "$2"); seed=${4:-1}
mkdir -p "$3"; cd "$3"
for part in windows:40:10 varied:28:4 things:40:2 sessions:36:2 everyday:44:2; do
  IFS=: read -r name train test <<< "$part"
  plif data gesture-sim --part "$name" --train "$train" --test "$test" --seed 1801 --out "$name"
done

move=shift:16,scale:0.75-1.25,turn:0.12,thin:0.55,both:0.35,halo:0.3,noise:0.004,hot:3
sim=mirror:0.5,stretch:0.7-1.6,$move,idle:0.06,splice:0.25,shuffle:0.04,freeze:0.01,axes:0.02
wide=shift:18,scale:0.65-1.35,turn:0.17,thin:0.55,both:0.35,halo:0.3,noise:0.004,hot:3
real=mirror:0.5,reverse:0.4,stretch:0.65-1.5,$wide,idle:0.06,splice:0.25,shuffle:0.02
mild=mirror:0.5,reverse:0.4,stretch:0.65-1.5,$move,idle:0.06,splice:0.25,shuffle:0.02
onsets=mirror:0.5,stretch:0.7-1.4,$move,onset:0.8
things=mirror:0.5,quarter:0.75,shift:20,scale:0.7-1.3,both:0.35,halo:0.3,noise:0.004,active:1
negatives=mirror:0.5,quarter:0.6,shift:20,scale:0.7-1.3,both:0.35,halo:0.3,noise:0.004,active:1
recipe=(--recipe live --protocol C --bn frozen --bias-limit 0.95 --clip-norm 1 --dropout 0.1 --lr 1e-3 --precision bf16 --seed "$seed" --device cpu)

# 1: frames of 40 ms, without people and onsets
plif train --from "$start" \
  --data dvs128-gesture:windows --vary $sim --data dvs128-gesture:varied --vary $sim --data "folder:$clips" --vary $real \
  --data dvs128-gesture:things --vary $things --mix 0.33,0.24,0.28,0.15 \
  --framing duration:40ms,value=binary --T 14 --epochs 16 "${recipe[@]}" --out 1.pt

# 2: 40 ms every 20 ms, all of it; the last three epochs with a learning rate that falls faster
second=(--from 1.pt
  --data dvs128-gesture:windows --vary $sim --data dvs128-gesture:varied --vary $sim --data "folder:$clips" --vary $mild
  --data dvs128-gesture:sessions --vary $onsets --data dvs128-gesture:everyday --vary $negatives
  --data dvs128-gesture:things --vary $negatives --mix 0.27,0.2,0.2,0.13,0.1,0.1
  --framing duration:40ms,every=20ms,value=binary --T 24 "${recipe[@]}" --out trial.pt)
plif train "${second[@]}" --epochs 6 --t-max 12
plif train "${second[@]}" --epochs 9 --t-max 9 --resume
