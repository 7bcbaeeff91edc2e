"""The tables a report can hold."""

from kdpipe.report.tables.attention import attention
from kdpipe.report.tables.chains import chains
from kdpipe.report.tables.checkpoints import checkpoints
from kdpipe.report.tables.early_stopped import early_stopped
from kdpipe.report.tables.ensembles import ensembles
from kdpipe.report.tables.eskd import eskd
from kdpipe.report.tables.generations import generations
from kdpipe.report.tables.improved_teacher import improved_teacher
from kdpipe.report.tables.losses import losses
from kdpipe.report.tables.mimicry import mimicry
from kdpipe.report.tables.staged import staged
from kdpipe.report.tables.teacher_size import teacher_size
from kdpipe.report.tables.temperature import temperature
from kdpipe.report.tables.transfer import transfer

TABLES = {
    "teacher_size": teacher_size,
    "mimicry": mimicry,
    "eskd": eskd,
    "temperature": temperature,
    "checkpoints": checkpoints,
    "early_stopped": early_stopped,
    "attention": attention,
    "generations": generations,
    "chains": chains,
    "improved_teacher": improved_teacher,
    "staged": staged,
    "ensembles": ensembles,
    "losses": losses,
    "transfer": transfer,
}
