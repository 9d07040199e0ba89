"""The three splits that heads are trained on (`heads`), chosen on (`choice`) and judged on (`report`).

`load_data` takes `digits`, a folder of images in one of the forms below, or `audio-folder:` and a folder of recordings
(WAV; with soundfile FLAC and Ogg) in one of the first two:

    DIR/train/<class>/*.png, DIR/val/<class>/*.png, optionally DIR/test/<class>/*.png
    DIR/<class>/*.png                       split 60/20/20 by a fixed permutation
    DIR/labels.csv with `file,target`       regression; files under train/, val/, test/, or else split 60/20/20;
                                            with `file,target,group` files are tiles of pictures (`tiles.py`)

Without `test`, `val` is halved into `choice` and `report`. Nothing is downloaded. Images stay on disk until a batch
asks for them, so memory does not grow with the folder.
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
