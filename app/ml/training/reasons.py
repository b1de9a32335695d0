"""Why a version may not serve, and what else there is to say of a run. `model_versions.reason` keeps the sentences."""

from app.domain.reasons import SentenceEnum


class Rejection(SentenceEnum):
    """Why a new version does not serve."""

    NOT_FINITE = "{name} gives answers that are no finite numbers"
    LOWER_CHANCE = "{name} gives students who got everything right a lower chance than those who got everything wrong"
    LESS_TIME = "{name} gives slow students less time than fast ones"
    WORSE = "{name}'s log-loss {new} is worse than {old} on {tasks} tasks"
    WORSE_THAN_BASELINE = "{name}'s log-loss {new} is worse than {old} of {rival} on {tasks} tasks"
    WORSE_TIMES = "{name}'s error of the log time {new} is worse than {old} on {tasks} tasks"
    JUMP = (
        "{name} moves the probabilities by {moved:+.2f} on average without being far better "
        "(log-loss {new} against {old} on {tasks} tasks)"
    )
    UNSKILLED = (
        "{name} can't tell right answers from wrong ones, which {rival} can "
        "(log-loss {new} against {old} on {tasks} tasks)"
    )
    CHOSEN_BY_HAND = (
        "{rival} was chosen by hand and {name} is not clearly better (log-loss {new} against {old} on {tasks} tasks)"
    )
    NOTHING_LEARNT = (
        "{name} can't tell right answers from wrong ones (AUC {auc:.2f} on {tasks} tasks), as version {skilled} could"
    )
    ONE_STUDENTS = "{rows} of the newest {tasks} tasks are one student's, who can't speak for the others"
    ALL_ALIKE = "{rows} of the newest {tasks} tasks are one student's and all {way}, too one-sided to judge by"
    ORDER_CHANGED = "who serves was changed while it was trained"


class RunReason(SentenceEnum):
    """What a run has to say of itself."""

    # what came of its models
    TRAINED = "Trained on {tasks:,} tasks and in service: {versions}."
    UPDATED = "Went on with the {new:,} new ones of {tasks:,} tasks and in service: {versions}."
    KEPT = "kept version {id}: {why}."
    NONE_SERVES = "none serves: {why}."
    NOT_TRAINED = "{kind} could not be trained: {why}."
    WORKERS_LOST = "Trained without Dask's workers: {why}."
    KNEW_ERASED = "Version {id} of {kind} knew a student who was erased."
    ANSWERED = "What is answered: {parts}."
    UNTRAINED_ANSWERS = "LNIRT fitted to the newest tasks answers."
    SERVES = "Serves for {kind}: log-loss {loss:.3f} ± {error:.3f} on {tasks} tasks that it was not fitted on."
    # what it had to do without
    TOOK_SOME = "Took {read:,} of {tasks:,} tasks, whole students of them: {why}."
    WENT_ON = "Went on instead of from scratch, which could take {read:,} of {tasks:,} tasks: {why}."
    TOO_MANY_SECONDS = "all would take about {needed:,.0f} s of {given:g} s"
    TOO_MANY_BYTES = "all would take about {needed:,} MB of memory, of {given:,} MB"
    TOO_MANY_ADDRESSES = "all would take about {needed:,} MB more of addresses, and `ulimit -v` leaves {left:,.0f} MB"
    AN_EARLIER_ONE = "an earlier training took more {scarce} than there is"
    LEFT_OUT = "{kind} was left out: {why}."
    LNIRT_ALONE = "earlier trainings took more than there is"
    NETWORKS_NEED = "networks take {least:,} MB of memory, and there are {given:,} MB"
    NETWORKS_ASK = "networks ask for {least:,} MB of addresses, and `ulimit -v` allows {given:,} MB"
    NO_TIME = "of {given:g} s there were too few left"
    FEWER_ROWS = "{kind} learnt from {rows:,} of {tasks:,} tasks, for the time."
    STOPPED_EARLY = "{kind} stopped after {epoch} of {epochs} epochs, for the time."
    # why it begins anew
    DRIFTED = "{name}'s log-loss has drifted from {before:.3f} to {now:.3f}"
    # why it came to nothing
    TAKEN_BY_ANOTHER = "Another run took these tasks."
    TOO_FEW_TASKS = "{tasks} finished tasks are too few to train on; it starts at {least}."
    ERASED_MEANWHILE = "A student was erased during the run, so nothing of it is kept; the next run begins anew."
    TAKEN_OVER = "Another run took this one's place."
    STOPPED = "The service was stopped in the middle of the run."
    CHAMPION_LOST = (
        "Version {id} of {kind} is in service, and nothing is published that was not compared with it: {why}. Put its "
        "files back, promote another version of {kind}, or take it out of service with `smartstudy retire {id}`."
    )
    NOT_STORED = "The new {kind} could not be stored: {why}."
    TOO_LONG = "The training took longer than {seconds:g} s and was ended; the next one takes fewer tasks."
    TOO_MUCH = "The training took more than {limit:,} MB of memory and was ended; the next one takes fewer tasks."
    OUT_OF_MEMORY = "The machine was out of memory and ended the training; the next one takes fewer tasks."
    SILENT = "The training was not heard of for {seconds:g} s and was ended."
    KILLED = "The training process was killed by signal {signal} ({name})."
    EXITED = "The training process ended with exit code {code}."


class RunEnded(Exception):
    """The run comes to nothing, for this reason."""

    def __init__(self, outcome: str, reason: RunReason, **values: object) -> None:
        super().__init__(reason.said(**values).text)
        self.outcome = outcome
