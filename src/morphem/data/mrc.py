"""MRC files: maps as volumes, and what a stack's header says of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from mrcfile.dtypes import HEADER_DTYPE
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError

_HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_MODE_OF = {"float32": 2, "float16": 12, "int8": 0, "int16": 1, "uint16": 6}
_IMOD_STAMP, _IMOD_SIGNED_BYTES = 1146047817, 1


@dataclass(frozen=True)
class MrcHeader:
    """Where an MRC file keeps its numbers, and how they are sampled.

    Attributes:
        path: The file.
        shape: Sections, rows and columns that are there, in file order.
        claimed: Sections that the header promises; more than ``shape[0]`` where the file was cut.
        dtype: Of the numbers in the file.
        offset: Bytes before the first number.
        cell: Voxel sizes along x, y, z, Å; 0 where the header does not say.
        angles: Between the cell's axes, degrees.
        axes: Which of x, y, z (0, 1, 2) are the columns, rows and sections.
        start: First column, row and section in voxels.
        origin: Of the map, x, y, z, Å.
    """

    path: Path
    shape: tuple[int, int, int]
    claimed: int
    dtype: np.dtype
    offset: int
    cell: tuple[float, float, float]
    angles: tuple[float, float, float]
    axes: tuple[int, int, int]
    start: tuple[int, int, int]
    origin: tuple[float, float, float]


def read_header(path: Path | str) -> MrcHeader:
    """What an MRC file holds, by its header where that is sane and by its length where that is less.

    Headers without the MAP stamp or the machine stamp are read all the same: many programs leave them out.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise DataError("PATH-001", f"{path} cannot be read: {error.strerror}") from error
    if len(raw) < _HEADER_BYTES:
        raise DataError("MRC-001", f"{path}: {len(raw)} bytes are no MRC file; copy the file again")
    fields, order = _native(path, np.frombuffer(raw, HEADER_DTYPE)[0])
    dtype = np.dtype(order + _number_type(path, fields, raw))
    columns, rows, sections = (int(fields[name]) for name in ("nx", "ny", "nz"))
    offset = _HEADER_BYTES + max(int(fields["nsymbt"]), 0)
    there = max(size - offset, 0) // (columns * rows * dtype.itemsize)
    return MrcHeader(
        path=path,
        shape=(min(there, sections), rows, columns),
        claimed=sections,
        dtype=dtype,
        offset=offset,
        cell=_cell(fields),
        angles=_three(fields["cellb"], ("alpha", "beta", "gamma")),
        axes=_axes(fields),
        start=(int(fields["nxstart"]), int(fields["nystart"]), int(fields["nzstart"])),
        origin=_three(fields["origin"], ("x", "y", "z")),
    )


def read_map(path: Path | str, pixel_size: float | None = None) -> Volume:
    """A cubic map, its axes brought to the order ``[z, y, x]``.

    Args:
        path: An MRC or CCP4 map.
        pixel_size: Å; wins over the header, and is needed where that has none.
    """
    header = read_header(path)
    _check_complete(header)
    box, size = _cube(header), _voxel_size(header) if pixel_size is None else pixel_size
    numbers = np.fromfile(header.path, header.dtype, box**3, offset=header.offset).reshape(header.shape)
    # file order is sections, rows, columns; header.axes names them from the columns up
    z, y, x = (header.axes[::-1].index(axis) for axis in (2, 1, 0))
    voxels = torch.from_numpy(np.ascontiguousarray(numbers.transpose(z, y, x), np.float32))
    if not voxels.isfinite().all():
        raise DataError("NAN-001", f"{path}: the map has voxels that are not a number; write it again")
    return Volume(voxels, Grid(box, size))


def read_origin(path: Path | str) -> tuple[float, float, float]:
    """Where the first voxel of a map lies, x, y, z in Å, as ChimeraX reads it.

    The origin fields, or the start in voxels where those are zero.
    """
    header = read_header(path)
    if any(header.origin):
        return header.origin
    start = dict(zip(header.axes, header.start, strict=True))
    x, y, z = (start[axis] * header.cell[axis] for axis in range(3))
    return x, y, z


def write_map(path: Path | str, volume: Volume, origin: tuple[float, float, float] = (0, 0, 0)) -> None:
    """Write a map as float32 MRC, whole or not at all.

    Args:
        path: Where to.
        volume: What.
        origin: Position of the first voxel, x, y, z in Å (:func:`read_origin` of the map to overlay).
            RELION and cryoSPARC place it at zero.
    """
    voxels = volume.voxels.detach().cpu().numpy().astype(np.float32)
    header = _header(len(voxels), volume.grid, "float32")
    header["mz"], header["ispg"], header["origin"] = len(voxels), 1, origin
    header["cella"]["z"] = volume.grid.extent
    header["dmin"], header["dmax"] = voxels.min(), voxels.max()
    header["dmean"], header["rms"] = voxels.mean(), voxels.std()
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(header.tobytes())
        file.write(voxels.tobytes())


def write_stack(
    path: Path | str, blocks: Iterable[Float[Tensor, "_ d d"]], grid: Grid, dtype: str = "float32"
) -> None:
    """Write images as an MRC stack, block after block, whole or not at all.

    Args:
        path: Where to, ``.mrcs``.
        blocks: Images in order; only one block is in memory at a time.
        grid: Their sampling.
        dtype: Of the numbers in the file: float32, float16, int8, int16 or uint16.
    """
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(bytes(_HEADER_BYTES))
        count = 0
        for block in blocks:
            file.write(block.detach().cpu().numpy().astype(dtype).tobytes())
            count += len(block)
        file.seek(0)
        file.write(_header(count, grid, dtype).tobytes())


def make_room(path: Path | str, count: int, grid: Grid) -> None:
    """An MRC stack of ``count`` float32 images that are zero until :func:`write_images` writes them."""
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(_header(count, grid, "float32").tobytes())
        file.truncate(_HEADER_BYTES + 4 * count * grid.box**2)


def write_images(path: Path | str, first: int, images: Float[Tensor, "b d d"]) -> None:
    """Put images into their places in a float32 stack; several processes may do so at once."""
    numbers = images.detach().cpu().numpy().astype(np.float32)
    with Path(path).open("r+b") as file:
        file.seek(_HEADER_BYTES + first * numbers[:1].nbytes)
        file.write(numbers.tobytes())


def _header(count: int, grid: Grid, dtype: str) -> np.ndarray:
    """Header of a stack of ``count`` images."""
    header = np.zeros((), HEADER_DTYPE)
    header["nx"] = header["ny"] = header["mx"] = header["my"] = grid.box
    header["nz"], header["mz"], header["mode"] = count, 1, _MODE_OF[dtype]
    header["cella"] = (grid.extent, grid.extent, grid.pixel_size)
    header["cellb"] = (90, 90, 90)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"], header["machst"], header["nversion"] = b"MAP ", (0x44, 0x44, 0, 0), 20141
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1  # not determined
    return header


def _native(path: Path, fields: np.void) -> tuple[np.void, str]:
    """The header in this machine's byte order, and the order of the file."""
    swapped = np.frombuffer(fields.tobytes(), HEADER_DTYPE.newbyteorder(">"))[0]
    for candidate, order in ((fields, "<"), (swapped, ">")):
        if 0 <= int(candidate["mode"]) < 1024 and all(
            0 < int(candidate[n]) < 2**24 for n in ("nx", "ny", "nz")
        ):
            return candidate, order
    raise DataError("MRC-001", f"{path} is no MRC file: its header has impossible sizes")


def _number_type(path: Path, fields: np.void, raw: bytes) -> str:
    mode = int(fields["mode"])
    if mode not in _MODES:
        known = "int8, int16, float32, uint16, float16"
        raise DataError(
            "MRC-003", f"{path}: MRC mode {mode} is not read (known: {known}); convert it to float32"
        )
    stamp, flags = np.frombuffer(raw, np.int32, 2, offset=152)
    # before 2012 IMOD wrote unsigned bytes as mode 0, and says so beside its stamp
    unsigned = mode == 0 and stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BYTES
    return "u1" if unsigned else _MODES[mode]


def _three(fields: np.void, names: tuple[str, str, str]) -> tuple[float, float, float]:
    first, second, third = (float(fields[name]) for name in names)
    return first, second, third


def _cell(fields: np.void) -> tuple[float, float, float]:
    x, y, z = (
        float(fields["cella"][axis]) / int(fields[count]) if int(fields[count]) > 0 else 0.0
        for axis, count in zip("xyz", ("mx", "my", "mz"), strict=True)
    )
    return x, y, z


def _axes(fields: np.void) -> tuple[int, int, int]:
    columns, rows, sections = (int(fields[name]) - 1 for name in ("mapc", "mapr", "maps"))
    return (columns, rows, sections) if {columns, rows, sections} == {0, 1, 2} else (0, 1, 2)


def _check_complete(header: MrcHeader) -> None:
    if header.shape[0] < header.claimed:
        raise DataError(
            "MRC-002",
            f"{header.path}: the header promises {header.claimed} sections, {header.shape[0]} follow; "
            "copy the file again",
        )


def _cube(header: MrcHeader) -> int:
    path, (sections, rows, columns) = header.path, header.shape
    if any(angle not in (0, 90) for angle in header.angles):
        angles = ", ".join(f"{angle:g}" for angle in header.angles)
        raise DataError("MAP-002", f"{path}: cell angles {angles}° are not right angles; resample the map")
    if not sections == rows == columns:
        raise DataError(
            "MAP-001", f"{path}: {columns} × {rows} × {sections} voxels are not a cube; pad the map"
        )
    if rows % 2:
        raise DataError("BOX-001", f"{path}: box {rows} is odd; pad or crop the map to an even box")
    return rows


def _voxel_size(header: MrcHeader) -> float:
    x, y, z = header.cell
    if min(x, y, z) <= 0:
        raise DataError("PIX-001", f"{header.path}: the header has no voxel size; state pixel_size in Å")
    if max(x, y, z) - min(x, y, z) > 1e-3 * x:
        message = f"{header.path}: voxels of {x:g} × {y:g} × {z:g} Å are not cubes; resample the map"
        raise DataError("MAP-003", message)
    return (x + y + z) / 3
