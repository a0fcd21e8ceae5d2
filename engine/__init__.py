"""Perturbation training of PyTorch models: one trial at a time, with no cluster software.

    from engine.config import Trial
    from engine.train import train

    trial = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="dropattack"))
    result = train(trial)

All methods are compositions of one idea (:mod:`engine.slots.slots`); what a trial is called is in
:mod:`engine.identity`.
"""
