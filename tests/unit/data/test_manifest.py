"""Every metadata file of the shared data is read right, or refused for a reason that is said."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from morphem.data.errors import DataError, MetadataWarning
from morphem.data.foreign import read_arrays
from morphem.data.metadata import MetadataOptions, read_metadata

# images, particles, has poses
READ = {
    "aspire/sample_particles_relion30.star": (17, 17, True),
    "aspire/sample_particles_relion31.star": (17, 17, True),
    "aspire/sample_relion_one_image.star": (1, 1, True),
    "aspire/sample_relion_symmetry_group_D4.star": (17, 17, True),
    "cryodrgn/FinalRefinement-OriginalParticles-PfCRT.star": (5, 5, True),
    "cryodrgn/cryosparc_J2_particles_exported.cs": (22, 22, False),
    "cryodrgn/cryosparc_P12_J24_001_particles.cs": (2019, 2019, True),
    "cryodrgn/empiar_10076_7.cs": (7, 7, False),
    "cryodrgn/empiar_10076_7.star": (7, 7, False),
    "cryodrgn/relion31.6opticsgroups.star": (139, 139, True),
    "cryodrgn/relion31.star": (5, 5, True),
    "cryodrgn/relion31.v2.star": (5, 5, True),
    "cryodrgn/sta_testing.star": (219, 6, True),
    "cryodrgn/sta_testing_bin8.star": (219, 6, True),
    "cryojax/trpv1_small_stack.star": (10, 10, True),
    "cryolike/data/relion_style_particles.star": (106, 106, True),
    "emtools/refine3d/run_it016_data.star": (4748, 4748, True),
    "learn_cryoem_math/t20s_3d/J209/cryosparc_P9_J209_000_particles.cs": (11764, 11764, True),
    "manifoldem/RyR1GCs_clustRem.star": (14491, 14491, True),
    "simplecryoem/particles.star": (4501, 4501, True),
    "simplecryoem/pyem.star": (24, 24, True),
    "simplecryoem/pyem_onerow.star": (1, 1, True),
    "simplecryoem/relion_proj_batch.star": (24, 24, True),
    "simplecryoem/relion_proj_batch_pfac2.star": (24, 24, True),
    "simplecryoem/relion_proj_batch_pfac3.star": (24, 24, True),
    "tomodrgn/warptools_test_4-tomos_10-ptcls_box-32_angpix-12.star": (1430, 40, True),
    "tomodrgn/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star": (1430, 40, True),
}
TILT_SERIES = {
    f"cets_relion/CtfRefine/job067/tilt_series/TS_{k}.star" for k in ("01", "03", "43", "45", "54")
}
REFUSED = dict.fromkeys(TILT_SERIES, r"STAR-003 .*one tilt series") | {
    "aspire/rln_proj_64.star": r"PIX-001 .*state pixel_size",
    "aspire/rln_proj_64_centered.star": r"CTF-001 .*has_ctf=False",
    "aspire/rln_proj_64_shifted.star": r"CTF-001 .*has_ctf=False",
    "aspire/rln_proj_65.star": r"PIX-001 .*state pixel_size",
    "aspire/rln_proj_65_centered.star": r"CTF-001 .*has_ctf=False",
    "aspire/rln_proj_65_shifted.star": r"CTF-001 .*has_ctf=False",
    "aspire/sample.star": r"STAR-001 .*line 20: 5 values .* 4 columns",
    "aspire/sample_data_model.star": r"STAR-003 .*a model, not particles",
    "aspire/sample_incomplete_ctf_params.star": r"CTF-003 .*_rlnVoltage.*state voltage_kv",
    "cets_relion/Class3D/job017/run_it025_model.star": r"STAR-003 .*a model, not particles",
    "cets_relion/Class3D/job017/run_it025_optimisation_set.star": r"PATH-001 .*run_it025_data\.star",
    "cets_relion/Class3D/job017/run_it025_optimiser.star": r"STAR-003 .*an optimiser state",
    "cets_relion/CtfRefine/job067/job.star": r"STAR-003 .*settings of a job",
    "cets_relion/CtfRefine/job067/optimisation_set.star": r"PATH-001 .*job064/run_data\.star",
    "cets_relion/CtfRefine/job067/tomograms.star": r"STAR-003 .*tomograms, not particles",
    "cets_relion/Picks/job019/particles.star": r"STAR-003 .*extract the particles first",
    "cets_relion/Refine3D/job074/job.star": r"STAR-003 .*settings of a job",
    "cets_relion/Refine3D/job074/run_data.star": r"TOMO-001 .*state tomograms",
    "cets_relion/Refine3D/job074/run_model.star": r"STAR-003 .*a model, not particles",
    "cets_relion/Refine3D/job074/run_optimisation_set.star": r"PATH-001 .*job070/tomograms\.star",
    "cets_relion/Refine3D/job074/run_optimiser.star": r"STAR-003 .*an optimiser state",
    "cryodrgn/relion5.star": r"ID-001 .*allow_duplicates",
    "cryodrgn/toy.star": r"PIX-001 .*state pixel_size",
    "cryodrgn/toy_projections.star": r"PIX-001 .*state pixel_size",
    "cryodrgn/toy_projections_13.star": r"ID-001 .*allow_duplicates",
    "cryodrgn/toy_projections_dir.star": r"PIX-001 .*state pixel_size",
    "cryolike/data/particle_data.star": r"STAR-003 .*extract the particles first",
    "cryolike/particles/particle_data.star": r"STAR-003 .*extract the particles first",
    "cryosparc_tools/4k_dataset.cs": r"COUNT-002 .*no particles",
    "cryosparc_tools/job096_run_data.star": r"STAR-002 .*git-lfs pointer",
    "drgnai/M_particles_sub10.star": r"ID-001 .*allow_duplicates",
    "emtools/refine3d/run_it016_half1_model.star": r"STAR-003 .*a model, not particles",
    "learn_cryoem_math/t20s_3d/J209/P9_J209_mask.csg": r"CS-004 .*of type mask",
    "learn_cryoem_math/t20s_3d/J209/P9_J209_particles.csg": r"PATH-001 .*P9_J209_passthrough_particles\.cs",
    "learn_cryoem_math/t20s_3d/J209/P9_J209_volume.csg": r"CS-004 .*of type volume",
    "tomodrgn/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_tomograms.star": r"STAR-003 .*tomograms",
}
# refused above for want of something the file cannot say; read once it is stated
STATED = {
    "aspire/rln_proj_64.star": (MetadataOptions(pixel_size=1, has_ctf=False), 5, True),
    "aspire/rln_proj_64_shifted.star": (MetadataOptions(has_ctf=False), 4, True),
    "aspire/rln_proj_65.star": (MetadataOptions(pixel_size=1, has_ctf=False), 5, True),
    "aspire/sample_incomplete_ctf_params.star": (MetadataOptions(voltage_kv=300), 1, True),
    "cryodrgn/relion5.star": (MetadataOptions(allow_duplicates=True), 17, True),
    "cryodrgn/toy.star": (MetadataOptions(pixel_size=1), 1000, False),
    "cryodrgn/toy_projections.star": (MetadataOptions(pixel_size=1), 1000, False),
    "cryodrgn/toy_projections_13.star": (MetadataOptions(allow_duplicates=True), 13, False),
    "drgnai/M_particles_sub10.star": (MetadataOptions(allow_duplicates=True), 10, True),
}
# shapes of the arrays
PICKLES = {
    "cryodrgn/ctf1.pkl": (5, 9),
    "cryodrgn/ctf2.pkl": (2019, 9),
    "cryodrgn/hand_rot.pkl": (100, 3, 3),
    "cryodrgn/hand_rot_trans.pkl": [(100, 3, 3), (100, 2)],
    "cryodrgn/ind100-rand.pkl": (100,),
    "cryodrgn/ind100.pkl": (100,),
    "cryodrgn/ind4.pkl": (4,),
    "cryodrgn/ind5.pkl": (5,),
    "cryodrgn/ind_39_sta_testing_bin8.pkl": (195,),
    "cryodrgn/pose.cs.pkl": [(2019, 3, 3), (2019, 2)],
    "cryodrgn/pose.star.pkl": [(5, 3, 3), (5, 2)],
    "cryodrgn/sta_ctf.pkl": (219, 9),
    "cryodrgn/test_ctf.100.pkl": (100, 9),
    "cryodrgn/test_ctf.pkl": (1000, 9),
    "cryodrgn/toy_angles.pkl": (1000, 3, 3),
    "cryodrgn/toy_rot_trans.pkl": [(1000, 3, 3), (1000, 2)],
    "cryodrgn/toy_rot_zerotrans.pkl": [(1000, 3, 3), (1000, 2)],
    "cryodrgn/toy_trans.pkl": (1000, 2),
    "cryodrgn/toy_trans.zero.pkl": (1000, 2),
    "cryodrgn/zvals_het-2_1k.pkl": (1319, 2),
    "cryodrgn/zvals_het-8_4k.pkl": (4549, 8),
    "cryodrgn_empiar/empiar10028/inputs/ctf.pkl": (105247, 9),
    "cryodrgn_empiar/empiar10028/inputs/filtered.ind.pkl": (93852,),
    "cryodrgn_empiar/empiar10049/inputs/ctf.pkl": (108544, 9),
    "cryodrgn_empiar/empiar10076/inputs/filtered.ind.pkl": (87327,),
    "cryodrgn_empiar/empiar10180/inputs/filtered.ind.pkl": (139722,),
    "drgnai/M_ctf.pkl": (10, 9),
    "recovar_fork/noise_10076.pkl": (127,),
    "tomodrgn/warptools_test_ind_last2tomos.pkl": (20,),
}


def quietly(path, options=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        return read_metadata(path, options)


def test_no_metadata_file_is_left_out(shared_data):
    real = shared_data / "real"
    found = {
        str(path.relative_to(real)) for ext in ("star", "cs", "csg", "pkl") for path in real.rglob(f"*.{ext}")
    }
    maps = {name for name in found if "_volume_m" in name or "_volume_precision" in name}
    assert found - maps == READ.keys() | REFUSED.keys() | PICKLES.keys()


@pytest.mark.parametrize("name", READ)
def test_a_particle_file_is_read_whole(shared_data, name):
    images, particles, has_poses = READ[name]
    metadata = quietly(shared_data / "real" / name)
    assert len(metadata) == images
    assert metadata.particle.max() + 1 == particles
    assert metadata.has_poses == has_poses
    assert metadata.image_index.min() >= 0
    assert metadata.pixel_size.min() > 0.5
    assert metadata.optics.defocus_u.min() > 0
    if metadata.rotation is not None:
        determinant = np.linalg.det(metadata.rotation)
        np.testing.assert_allclose(determinant, 1, atol=1e-5)  # projection rows have six digits


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_another_file_is_refused_with_its_reason(shared_data, name):
    with pytest.raises(DataError, match=REFUSED[name]):
        quietly(shared_data / "real" / name)


@pytest.mark.parametrize("name", STATED)
def test_what_a_file_lacks_can_be_stated(shared_data, name):
    options, images, has_poses = STATED[name]
    metadata = quietly(shared_data / "real" / name, options)
    assert len(metadata) == images
    assert metadata.has_poses == has_poses


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_gives_its_arrays(shared_data, name):
    content = read_arrays(shared_data / "real" / name)
    shapes = [part.shape for part in content] if isinstance(content, tuple) else content.shape
    assert shapes == PICKLES[name]
    with pytest.raises(DataError, match=r"PATH-003 .*state this file as poses or ctf"):
        quietly(shared_data / "real" / name)


def test_maps_of_cryosparc_are_not_taken_for_particles(shared_data):
    paths = sorted((shared_data / "real/learn_cryoem_math").rglob("*_volume_*.cs"))
    assert len(paths) == 38
    for path in paths:
        with pytest.raises(DataError, match=r"CS-004 .*holds maps"):
            quietly(path)
