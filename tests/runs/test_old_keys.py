"""Key files of nnw-onnx before claims still open: kept here as they were written then."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from nnw_onnx.runs.keys import load_key, save_key
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec

# A static key (version 1) and one with triggers (version 2), both with payload, compressed.
VERSION_1 = (
    "c-jl_W@Zs#fB;1XmnT>5buuzAfG`J8q$IVXL@%$Pa<X5jZ$Km?Lm5N0dP-"
    "_>a*?`~f_hD<p}LNOdRl%_Nl{{6e11_%DoETdF{d~cC|;bASda?jYZ#fC>S*dH)GCk-xT=*Ba|$vNlTu5RtQ3rN6"
    "qJ(lb8|CGa#Qm_0!oQVltCq+i9m1UCW1}N%PZH-&&#V&$WE;U$>bzfrWO?gWuk%B=9L-"
    "im8WK=XOt+#0_Ad3OEU6PK)OnkGcr>WLF)7JOHv`q%QGs$s`3j;GV}95V%4=kZb4#YPJUuad~s$~Dp1S>C<G2Hu%"
    ">7;Am141M`Iw01?esW+78qXlr*djK#4BV&x`*o0J1=s3y6zTlZ#R*k1(L^l*N|<7Xu>`GYcylI|nBhHxDl#zkr~S"
    "u!yLbxP+vXw2Z8rJgPrp8GpTM0kS}t8;GF+M6pLqDD?-(Ba93I-"
    "i%Bl%(!z23^Xt@Amtf!UFea8(6ycsIqJ~$p$85^UpW&>Pz89ivVkO+fp9sHR$&J50J4SRfB"
)
VERSION_2 = (
    "c-"
    "jl_W@Zs#fB;1X&a3Qkiy0XhK$rt4Qj%IxqL)`tIoU7NHz1Ocp^TwgJteg`xk%kgLA|EbP+dnsJuSbeq$n{jKEEg>"
    "6(sJKm{Xhz6fe$5EJy|NHH<6`bu@JpY8A)^T-"
    "8d6IRzPsNvS1DRtiQs3QCDZMTwQgKu)w$Nl|8cdTLRzQY=tBIX^cyvm`e)52R2jIfXK)1T+!oz1&2wX?c0&y7_r|"
    "6$;s@l^~g%#7dC0KsSJF&P^@J$WH;OOH9cGN$2I4q(WSnm#>fvbZ};B5!j9S1tppJc_683rR1E%;$pBeLj#ahX-P"
    "pT$TGuPAg>^?GABPVCB8VbDitVZ0u%xVD%{R8p#4CjKw(lFfD)0SpBMjG0AztM7Z4YxCKshr9+k#M6vm_i7Xu>`G"
    "YcylI|nBhHxDl#zkr~Su!yLbxP+vXw2Z8rJgPr#@XoMp0kS}t8;GGnLa|3oDD{T|7ch%3qB_=f&5{&YpbG&pIFah"
    "Y(kD(g+oYKg>1G8Z3iA=fr49B#!U2eYxB-Y40Pz7Je&7(`&B!FejJrI5fd)nfq|yOh7kc7D=sL-"
    "WoD|XZp+`1C-$W*qs7Kd`9`Fc_cFfqKA;6oJ4J6M3gwKIA9}9>F0Anp6{{"
)
STATIC = Claim(
    Key(
        method=Spec("uchida"),
        secret=bytes(range(32)),
        size=4,
        carries=4,
        layers=("conv3.weight",),
        shapes=((64, 32, 3, 3),),
        commitment="ab" * 32,
        notes=("why",),
    ),
    Payload.from_bits("0110"),
)
TRIGGERS = Claim(
    Key(
        method=Spec("adi", {"output": 1}),
        secret=bytes(range(32)),
        size=4,
        carries=4,
        facts={"classes": 10},
        commitment="cd" * 32,
        notes=("no carrier",),
        arrays={"triggers": np.arange(8, dtype=np.float32).reshape(4, 2)},
    ),
    Payload.from_bits("1001"),
)


@pytest.mark.parametrize(
    ("kept", "claim"), [(VERSION_1, STATIC), (VERSION_2, TRIGGERS)], ids=["version 1", "version 2"]
)
def test_old_keys_are_claims(tmp_path, kept, claim):
    path = tmp_path / "old.npz"
    path.write_bytes(zlib.decompress(base64.b85decode(kept)))
    path.chmod(0o600)
    found = load_key(path)
    assert found == claim
    assert found.key.arrays.keys() == claim.key.arrays.keys()
    for name, values in claim.key.arrays.items():
        assert np.array_equal(found.key.arrays[name], values)
    save_key(found, path)
    assert load_key(path) == claim


def test_options_of_a_method_that_is_not_there_stay_options(tmp_path):
    from nnw_onnx.runs._key_text import parsed

    text = zlib.decompress(base64.b85decode(VERSION_2))
    start = text.index(b'{"alphabet"')
    old = text[start : text.index(b"}", text.index(b'"version"', start)) + 1]
    found = parsed(old.replace(b'"method": "adi"', b'"method": "gone"'))
    assert found.method.spec == Spec("gone", {"output": 1, "classes": 10})
    assert found.facts == {}
