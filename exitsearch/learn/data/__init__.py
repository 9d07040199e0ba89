"""The three splits that heads are trained on (`heads`), chosen on (`choice`) and judged on (`report`).

`load_data` takes `digits`, or a folder of images (`DIR` or `folder:DIR`) in one of these forms:

    DIR/train/<class>/*.png, DIR/val/<class>/*.png, optionally DIR/test/<class>/*.png
    DIR/<class>/*.png                       split 60/20/20 by a fixed permutation
    DIR/labels.csv with `file,target`       regression; files under train/, val/, test/, or else split 60/20/20;
                                            with `file,target,group` files are tiles of pictures (`tiles.py`)

Without `test`, `val` is halved into `choice` and `report`. A further column of `labels.csv` may name a recording beside
each picture, for models that read it as a side input (`side.py`).

Or `audio-folder:DIR`, a folder of recordings (WAV; with soundfile FLAC and Ogg) in one of the first two forms
(`audio.py`).

Or a data set by timm's name for it, kept below a folder (`root`):

    torch/fashion_mnist, torch/cifar10, torch/cifar100, torch/mnist, torch/kmnist, torch/imagenet, ...
    hfds/NAME of the Hugging Face hub, wds/NAME (webdataset), tfds/NAME (TensorFlow Datasets)

`report` is then the official test split, or the validation split where no test labels are known; `choice` is one in
five of the training samples (`division.py` says which). Nothing is downloaded unless asked for. Images stay on disk
until a batch asks for them, so memory does not grow with the folder. They are prepared as the backbone's own weights
were trained, by timm's `resolve_data_config` and `create_transform`.

How it hangs together: `sources.py` finds the kind of data by its name (`digits.py`, `folder.py`, `side.py`, `audio.py`,
`by_timm.py`); each gives `DataSplits` (`splits.py`), read by `batches` (`loading.py`) through processes that stay
(`workers.py`).
"""

from exitsearch.learn.data.load import data_outputs as data_outputs
from exitsearch.learn.data.load import load_data as load_data
from exitsearch.learn.data.loading import batches as batches
from exitsearch.learn.data.loading import in_order as in_order
from exitsearch.learn.data.loading import shuffled as shuffled
from exitsearch.learn.data.splits import SPLITS as SPLITS
from exitsearch.learn.data.splits import DataSplits as DataSplits
from exitsearch.learn.data.splits import Split as Split
from exitsearch.learn.data.splits import TensorsSplit as TensorsSplit
from exitsearch.learn.data.splits import check_data as check_data
