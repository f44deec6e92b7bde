"""What kind of model this is: inputs, answers, layers, attention, score, batch axis."""
