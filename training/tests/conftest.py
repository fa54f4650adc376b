from weft_training import determinism

determinism.apply()
