"""Operations behind which channels cannot be followed: they tie, and they say so."""

from anatomies import net
from small_networks import conv, fc


def test_an_operation_that_is_not_known_ties_its_channels_and_says_so():
    traced = net(lambda n, x: n.b(n.a(x).cumprod(1)), a=conv(3, 6), b=conv(6, 4), fc=fc(4))
    reason = "enters cumprod, behind which channels cannot be followed"
    assert (traced.unit["a"].kind, traced.unit["a"].reason) == ("tied", reason)
    assert traced.notes == (f"the network: what {reason}",)
    assert traced.unit["b"].kind == "free"


def test_what_is_filled_with_a_number_has_no_channels():
    traced = net(lambda n, x: n.b(n.a(x) + n.a(x).new_ones(6, 1, 1)), a=conv(3, 6), b=conv(6, 4),
                fc=fc(4))  # fmt: skip
    assert (traced.unit["a"].kind, traced.notes) == ("free", ())
