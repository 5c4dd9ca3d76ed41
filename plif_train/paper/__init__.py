"""The paper, reproduced: what its authors published, and where one's own training stands beside it.

    conditions   what decides a training's accuracy: two runs stand side by side only where all of it is equal
    logs         accuracy and tau of every epoch of the authors' 49 runs
    tables       Tables 2, 4, 5 and S2: the published accuracies
    rows         every table and figure, with the command that reproduces it
    standing     a training beside the authors' at the same epoch: inside the spread or not
    cli          plif paper

W. Fang et al., Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural Networks, ICCV 2021.
"""
