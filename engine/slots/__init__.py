"""The five slots that every method fills: selection, input, weight, dropout, objective. Settings only."""
