"""What `ONEDNN_MAX_CPU_ISA` lets OpenVINO use of a processor. Pure.

oneDNN, which computes for OpenVINO on CPUs, reads the variable once, before its first model; the
other engines do not look at it.
"""

from __future__ import annotations

VARIABLE = "ONEDNN_MAX_CPU_ISA"

_AVX512 = frozenset({"avx2", "avx512f"})
_VNNI = _AVX512 | {"avx512_vnni"}
_BF16 = _VNNI | {"avx512_bf16"}
_FP16 = _BF16 | {"avx512_fp16", "avx_vnni"}
_AMX = _FP16 | {"amx_tile", "amx_int8", "amx_bf16"}

# The names and what each includes are oneDNN's (dnnl_cpu_isa_t).
LEVELS: dict[str, frozenset[str]] = {
    "SSE41": frozenset(),
    "AVX": frozenset(),
    "AVX2": frozenset({"avx2"}),
    "AVX2_VNNI": frozenset({"avx2", "avx_vnni"}),
    "AVX2_VNNI_2": frozenset({"avx2", "avx_vnni"}),
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _VNNI,
    "AVX512_CORE_BF16": _BF16,
    "AVX512_CORE_FP16": _FP16,
    "AVX10_1_512": _FP16,
    "AVX512_CORE_AMX": _AMX,
    "AVX10_1_512_AMX": _AMX,
}


def onednn_features(features: frozenset[str] | None, limit: str) -> frozenset[str] | None:
    """The instructions that OpenVINO may use of those that the processor has.

    Args:
        features: the processor's; None when not known.
        limit: what the variable says; a name that is not known here limits nothing.
    """
    level = LEVELS.get(limit.upper())
    return features if level is None or features is None else features & level


def is_limit(limit: str) -> bool:
    """Whether the variable says something that is known to limit."""
    return limit.upper() in LEVELS


def stricter(one: str, other: str) -> str:
    """The level that leaves what two limits both leave; one that is not known limits nothing."""
    known = [limit for limit in (one, other) if is_limit(limit)]
    if len(known) < 2:
        return known[0] if known else one or other
    both = LEVELS[one.upper()] & LEVELS[other.upper()]
    kept = next((limit for limit in known if LEVELS[limit.upper()] == both), "")
    return kept or max((name for name in LEVELS if LEVELS[name] <= both), key=_amount)


def _amount(name: str) -> int:
    return len(LEVELS[name])
