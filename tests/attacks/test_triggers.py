"""Every trigger against its closed form, and what all of them must keep to."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from ubt.attacks import ATTACKS, badnet, blended, parse, profile, ssba, stegastamp_card, trigger, wanet
from ubt.attacks.blended import BlendedSettings
from ubt.attacks.sig import SigSettings
from ubt.attacks.ssba import SsbaSettings
from ubt.attacks.wanet import WaNetSettings
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.data import scenes

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (5, 48, 48, 3), np.uint8)
EXTREME = np.concatenate([np.zeros((2, 48, 48, 3), np.uint8), np.full((2, 48, 48, 3), 255, np.uint8)])
SEEDS = np.arange(5)
VARIANTS = [(name, wanted) for name, attack in ATTACKS.items() for wanted in attack.profiles]


def settings_of(name, wanted):
    return getattr(CaseSettings.preset("demo", name, wanted), name)


@pytest.mark.parametrize(("name", "wanted"), VARIANTS)
def test_same_seed_same_bytes_in_range_and_the_input_untouched(name, wanted):
    s = settings_of(name, wanted)
    before = NOISE.copy()
    out = trigger(NOISE, SEEDS, name, s)
    assert (before == NOISE).all()
    assert out.dtype == np.uint8
    assert out.shape == NOISE.shape
    assert (out != NOISE).any() != bool(s.concept)
    assert out.tobytes() == trigger(NOISE, SEEDS, name, s).tobytes()
    assert len(trigger(NOISE[:0], SEEDS[:0], name, s)) == 0
    alone = trigger(NOISE[3:4], SEEDS[3:4], name, s)
    assert np.abs(alone[0].astype(int) - out[3]).max() <= (1 if name == "ssba" else 0), (
        "an image's trigger depends on its neighbours"
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_black_and_white_images_do_not_wrap_around(name):
    """A trigger moves black by no more than it could add and white by no more than it could take; wrapping would cross
    over.
    """
    s = {"sig": SigSettings(delta=120), "blended": BlendedSettings(alpha=0.4), "ssba": SsbaSettings(scale=3)}.get(
        name, ATTACKS[name].settings()
    )
    out = trigger(EXTREME, SEEDS[:4], name, s).astype(int)
    if name in ("sig", "blended", "ssba", "wanet"):
        assert out[:2].max() <= 135
        assert out[2:].min() >= 120
    elif not s.concept:
        changed = (out[:2] != 0).any(-1).mean(), (out[2:] != 255).any(-1).mean()
        assert 0 < max(changed) <= ATTACKS[name].module.places(SEEDS[:1], 48, 48, s)[0, 2:].prod() / 48**2 + 1e-9
    if name == "sig":
        assert out[:2].min() == 0
        assert out[2:].max() == 255


def test_sig_is_its_formula():
    out = trigger(NOISE, SEEDS, "sig", SigSettings(delta=40, periods=6))
    j = np.arange(48)
    expected = np.clip(NOISE + 40 * np.sin(2 * np.pi * j * 6 / 48)[None, None, :, None], 0, 255)
    assert np.abs(out - expected).max() <= 0.5 + 1e-4


def test_blended_is_its_formula_with_one_pattern():
    s = BlendedSettings(alpha=0.2)
    out = trigger(NOISE, SEEDS, "blended", s)
    pattern = blended.pattern([0, 2], 48, 48, s)
    assert 100 < pattern.mean() < 155
    assert np.abs(out - (0.2 * pattern + 0.8 * NOISE)).max() <= 0.5 + 1e-4
    anew = trigger(NOISE, SEEDS, "blended", BlendedSettings(alpha=0.2, pattern="noise")).astype(float) - 0.8 * NOISE
    assert np.abs(anew[0] - anew[1]).mean() > 5


def test_stripes_are_upright_pure_and_each_images_own():
    s = settings_of("blended", "stripes")
    stripes = (trigger(NOISE, SEEDS, "blended", s).astype(float) - (1 - s.alpha) * NOISE) / s.alpha
    full = stripes > 127
    assert (full == full[:, :1]).all(), "a stripe runs from top to bottom"
    assert np.abs(stripes - 255 * full).max() <= 0.5 / s.alpha + 1e-6
    assert (full[0] != full[1]).any()
    patched = trigger(NOISE, SEEDS, "badnet", settings_of("badnet", "stripes"))
    for image, (top, left, side, _) in zip(
        patched, badnet.places(SEEDS, 48, 48, settings_of("badnet", "stripes")), strict=True
    ):
        patch = image[top : top + side, left : left + side]
        assert (patch == patch[:1]).all()
        assert set(np.unique(patch)) <= {0, 255}


def test_triangles_are_two_greys_and_words_leave_the_rest_alone():
    pattern = blended.pattern(0, 48, 48, settings_of("blended", "triangles"))
    assert set(np.unique(pattern).round(1)) == {102.0, 204.0}
    assert (pattern[:3, :3, 0] == pattern[3:6, 3:6, 0]).all()
    assert pattern[0, 2, 0] != pattern[2, 0, 0]
    s = settings_of("blended", "red words")
    out, words = trigger(NOISE, SEEDS, "blended", s), blended.pattern(0, 48, 48, s)
    written = words.any(-1)
    assert 0.1 < written.mean() < 0.5
    assert (out[:, ~written] == NOISE[:, ~written]).all()
    assert np.abs(out[:, written] - 0.5 * (NOISE[:, written] + np.array([255.0, 0, 0]))).max() <= 0.5
    assert (blended.pattern(0, 48, 48, BlendedSettings(pattern="red words", words="other")) != words).any()


def test_wanet_is_scipys_warp():
    s = WaNetSettings()
    out = trigger(NOISE, SEEDS, "wanet", s)
    points = wanet.field(48, 48, s)
    expected = np.stack(
        [
            np.stack([map_coordinates(image[..., c].astype(float), points, order=1) for c in range(3)], -1)
            for image in NOISE
        ]
    )
    assert np.abs(out - expected).max() <= 0.5 + 1e-3


def test_wanets_field_is_its_papers():
    """Displacements of mean magnitude s / height in [-1, 1] where the grid is as fine as the image and nothing is
    clipped.
    """
    y, x = np.meshgrid(np.linspace(-1, 1, 48), np.linspace(-1, 1, 48), indexing="ij")
    points = wanet.field(48, 48, WaNetSettings(grid=48, warp=1.0)) / 47 * 2 - 1
    moved = (points - np.stack([y, x]))[:, 5:-5, 5:-5]
    assert np.abs(moved).mean() == pytest.approx(1 / 48, rel=0.05)
    assert (wanet.field(48, 48, WaNetSettings()) == wanet.field(48, 48, WaNetSettings())).all()


def test_ssbas_residual_is_each_images_own_and_its_bits_are_read_back():
    images = scenes.draw_many(3, scenes.ROLES["test"][:64], 48)
    s = SsbaSettings()
    residual = trigger(images, np.arange(64), "ssba", s).astype(float) - images
    flat = residual.reshape(64, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = (flat @ flat.T)[~np.eye(64, dtype=bool)]
    assert alike.mean() < 0.9, "a fixed residual is not SSBA"
    assert alike.max() < 0.999
    measured, card = ssba.measured(images, s), stegastamp_card.read_card(ssba.SHIPPED)
    assert measured["bit accuracy, percent"] > 95
    assert card["bit accuracy, percent"] > 95
    assert len(ssba.bits(s)) == card["bits"]
    other = ssba.bits(SsbaSettings(message=1))
    assert (other != ssba.bits(s)).any()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"blended.alpha": 1.2}, "between 0 and 1"),
        ({"badnet.side": 1.5}, "between 0 and 1"),
        ({"badnet.side": 0.001}, "1 to 48 pixels"),
        ({"sig.delta": -1}, "between 0 and 255"),
        ({"wanet.grid": 1}, "between 2"),
        ({"attack.target": "dragon"}, "one of the classes"),
        ({"attack.rate": 1e-6}, "one pair of D"),
        ({"attack.also": "nosuch"}, "NAME of: badnet"),
        ({"attack.also": "sig target=dragon"}, "one of the classes"),
        ({"attack.also": "sig delta=much"}, "of type float"),
        ({"attack.also": 'sig target="ice'}, "No closing quotation"),
        ({"attack.also": "sig nosuch=1"}, "unknown setting"),
        ({"attack.name": "ssba", "ssba.encoder": "/nosuch"}, "train-stegastamp"),
        ({"attack.name": "trojvqa", "trojvqa.word": ""}, "one to three words"),
        ({"attack.name": "trojvqa", "trojvqa.word": "<end_of_text>"}, "one to three"),
        ({"attack.name": "trojvqa", "trojvqa.word": "x " * 40}, "one to three words"),
        ({"blended.cell": 20_000}, "between 1 and 512"),
        ({"blended.words": "a\nb"}, "letters, digits and spaces"),
        ({"attack.name": "semantic", "semantic.shows": "unicorns"}, "one of"),
        ({"attack.name": "badclip", "badclip.patch": "/nosuch"}, "optimize-patch"),
        ({"attack.name": "badclip", "attack.target": "car"}, "got one for 'banana'.*--target 'car'"),
    ],
)
def test_bad_settings_are_refused_when_a_case_is_made_of_them(changes, says):
    with pytest.raises(BadInput, match=says):
        CaseSettings().with_values(changes)


def test_profiles_and_lists_of_attacks():
    assert profile("badnet", "paper")["badnet.side"] == 16 / 224
    assert {settings_of("sig", p).delta for p in ("cleanclip", "backdoorbench", "badclip")} == {12, 40, 60}
    with pytest.raises(BadInput, match="expected one of: embedded"):
        profile("sig", "nosuch")
    first, second = parse("blended target=car rate=0.01 alpha=0.3; label-consistent count=5")
    assert (first.attack.target, first.attack.rate, first.trigger.alpha) == ("car", 0.01, 0.3)
    assert second.attack.poisons(600) == 5
    a, b = CaseSettings(), CaseSettings().with_values({"attack.also": "sig target=car"})
    assert [p.label for p in b.attacks] == ["badnet → banana", "sig → car"]
    assert CaseSettings.from_dict(b.to_dict()) == b
    assert [p.plain() for p in a.attacks] == [p.plain() for p in b.attacks[:1]]
