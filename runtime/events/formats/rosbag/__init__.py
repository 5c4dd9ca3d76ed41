"""Rosbags of ROS 1 and 2: bag.py opens one, decode.py reads it in a process of its own, messages.py knows the layouts."""
