"""The strategies' names for help texts, written out so that help need not import the scheduler; a test compares."""

NAMES = (
    "value, largest, smallest, static:VARIANT@PROCESSOR, random[:SEED], tiers:THRESHOLD=VARIANT,...,else=VARIANT, "
    "alert[:CONFIDENCE], band:shortest|slack|heft[@VARIANT], deepx[:ERROR], infaas, leo, mcdnn, proteus, slackfit"
)
