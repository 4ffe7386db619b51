from systems.api import NullMeter, SystemConfig, build_system
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, SYSTEMS, requests


def test_transformers_generates_the_same_tokens_and_stops_when_told(pair: Pair) -> None:
    group = requests(2, 10)
    meters = []
    for config in (SystemConfig("transformers", "", engine={"part": "transformers"}), SYSTEMS["resident"]):
        system = build_system(config, pair, 0, None, COSTS)
        meters.append(NullMeter([10, 4]))
        system.generate(group, meters[-1])
        system.close()
    assert meters[0].tokens == meters[1].tokens
    assert [len(tokens) for tokens in meters[0].tokens] == [10, 4]
