"""What stores hold of old: identities, digests and clusters stay what they are, whatever computes them."""

import hashlib
from typing import NamedTuple

import pytest

from connectors.decoders.detect import Decoders
from policies.clusters import cluster_of
from policies.records import Trace, canonical
from tests.policies.odd import ODD


class Pin(NamedTuple):
    """An event's id, its digest, its cluster, and the SHA-256 of its canonical payload."""

    id: str
    digest: str
    cluster: str
    payload: str


PINS: dict[str, Pin] = {
    "plain": Pin(
        "e1",
        "c330bc6b352892ba921a551401d877f8414277f3edc54eff8246c7fb91e15a2b",
        "73e1cb5a618f024e291724922ded7da4c06ecef6636a93390cbf2cdbf2cb211c",
        "f49c22d95882ff045bb3c00bc19567df33c9c2ff1095044e8176d9c7e8c39681",
    ),
    "no id": Pin(
        "96c88ca262562c01bf8cb46c651081c8e15655251c667ba4013da30029bff7a7",
        "77176fa1e6e9531191ec84853bd1684b9956424b870d2f67e1ab3ced0f337318",
        "73e1cb5a618f024e291724922ded7da4c06ecef6636a93390cbf2cdbf2cb211c",
        "48d804754ee67ba6188bffa9f133fe690564e9d32be4a82c9b03e431b58e8e59",
    ),
    "capitals and punctuation": Pin(
        "721ef79463b27b639c4e5a24bfc2b58ecb53b8a5c232cbd78562f8f7b9d10047",
        "737b879c5dbc5698e1154c67dc309fab71946acba40cee8a0d8449680336da75",
        "fc1294c22325efdf8b66ee7dc4ffed8c6eb500fa5834652607fa31b0842ec97c",
        "d4b094d4654da971e537a613b2fa10223e6c97f0810711f5b783fa25997af3fb",
    ),
    "nothing but punctuation": Pin(
        "cf12b73d2f186f832d314bd9602d219422af52c86ac2034382e52293e9f95a42",
        "934cb0e1902a9c04019db2bbe6973f268d522493f03b19814a39e2276fd369e0",
        "23ffe711a35282155b4080fb13f068734430f7740dd81caea487b51295d53e28",
        "4e2265df85e2849284043a4d773903724ab97483989f89b3f07cdde749328f10",
    ),
    "spaces alone": Pin(
        "4d752f991137833e176a4d511869df2c76a45cfa7fbf53baf8badfdbec90e4cc",
        "e66c605cc8883753272ae4975744f70ee20beb92648aea37e6629b1390effc83",
        "a93479fd55c9849754127490822a4c75dd4693cddc16574e86f9c33362287492",
        "eda624c6b88e0d5f612a83ed89c8bb94c5ae3d45c5220281a4d494fb3e5dec7a",
    ),
    "empty": Pin(
        "ed5c8e6f5587174d644352880ad47a9bf844351d04288777276112ffbfee122f",
        "b5a08c9860da80335ab2c1b9732faddff29758d14e36c13d16754af2ba6dc0dc",
        "e5b1d7378a9407f43e56df7a0ca48279692626f4bc532e41db0416d514a76b19",
        "a7f0ed08020d0c87b2cd0df4b1303d164524c2b56e261f040edfc3db1c47ae8c",
    ),
    "control characters": Pin(
        "a92bdcabed873816dc434620ca6b9f241ed0f23ed6b0bd720133faa22bcb5685",
        "63c538863301786bbea32bd3c1fd1479050361e7cea6c743317810169938a121",
        "052c734f943cedf6c2a3f20aa0d41acc7bc5c2942fdf2fa1215cc8d5051a33ec",
        "b0331948306e59774855acef2630efcc1b2d51a98890de7b23b72d5b3aa8d9c4",
    ),
    "sharp s, ligature, dotted i": Pin(
        "9040fe5265c52a3234e609d55cc62f7a6ca38464cf01a446e13b0281782f3244",
        "ea238e80c7a42eb06ebc667d5f55c97fe88004648bb3fff53151f691a3588afc",
        "c7246f9e22bbd1b4a5e72111afcc59d7b02a2c5108d6c9d7b8e98e4bb1335ea0",
        "9fabcf302e0e02884cc4ce2d6758f3948437af4d7e101b32057591157c721309",
    ),
    "wide forms": Pin(
        "f9242da0245bf7f06498777354f861086eafa1c99d4d264f3c5a6cb50df45117",
        "278842baa88361deaf7d891659f69bf7f70762175f19fea9ed3208ff6307f8ac",
        "99342c9e27ce6a0b2f6672cb6cc88298b9b2427628426a95c51a16d995411ef8",
        "5bb5a6b1e06d6de61327268c716c67b9286f74395af91e5963e2258e4309f9db",
    ),
    "astral": Pin(
        "3c3d1bb2033326fc1cd949e7ffb58c897963c1a5baea38f5994f1466f3ba260e",
        "ded29ae6c30b480526330af14a8ae7f285e827e952f9d466a85429463893b8f4",
        "79566da4748bfe23bdce2cf399d17e4dfa74e5f48042141b16194c8fcee80b1d",
        "e3506226692c6851212c6e2bc9100f19f72054ccf4a6ceac581c0d3ebffb5530",
    ),
    "marks in a run": Pin(
        "9eb4f238f78c14e1a3e01eb98e9a9ef2eced8f48faf9ce8ed106a9a8747c8b07",
        "2ec41eb0d1d71cceb4e4e02a8aeed82ff94fccb42625eafebf88b069415e24f1",
        "ab79f3c9eff8f1f76e9a20a0232bbe2d2e89ab58a60723a2bf121995baad7f06",
        "0853a720535667a8b6679574b545dd1d5dee4947ac3f8bb1887e18db16456878",
    ),
    "other scripts": Pin(
        "3f907c8d9186bd44016f63c70eca3387a49166ffaae5d152172017af8c70ed09",
        "1a87a812cbd9db4f819d3eff37175863b14fca38c5fc96f6e5b3e5f974308ad3",
        "14a3f1ca5db1a654304d6ba50c5ebfe2aaaeedc1908d245ad88a066504d01164",
        "1f889566c000f5963b24bc6a737f1329c6970e9659e25b76390ae57fc9e8215d",
    ),
    "non-characters": Pin(
        "3ced3420ca047864dd2b9265dfc9229b2319aeb2cfc4c549c1939658dfe8dd56",
        "c1b78628ed8084f6e44841ff32e1f013c628317edd7ab74a2e9d8faca2f22a0a",
        "1d7839b69ab6d2c563c3b44f2c5d8a6ec7cf3960c2c6342e7e52e84d889781bd",
        "5b317e61002821b4fc2017160312d9c062c1f33cda3df032e452e955a2cfd577",
    ),
    "long": Pin(
        "8beab63ef489993c6e6e2bccfb0f24bf76a06a1813a04fcef6357704b26f2529",
        "3a65d79111f00ef9eecd6727d7368d536dde5cbf2fb4c9138f6c419fe86cd94b",
        "9c1f45166f607bb56f27c513d35c4820c1f455203b2a029a102a120d59f09746",
        "74bc26b7c703856fcc1de108490ccd3775e44904c9ed8ff09783e64139217fe5",
    ),
    "numbers in arguments": Pin(
        "be864e3c943cff2b387704095d533a182299360e1ac75483666723f63bc1fd54",
        "c733e8b06a48565b8187e7b73d2b34ce9ae030a40a4f7a031d306915db97f850",
        "79c3946f8e68f49f106c3e145943999b3c7c16c08170ce268f232e54a0fb50eb",
        "1e2335a21559b210cc3110481f5660b2c0dff76cf30683177f2fd696897b02c2",
    ),
    "keys in arguments": Pin(
        "d743f615e4af3c262b93f4223c966ff2a04adeb059273495260372d653a497ce",
        "909ffc7196523c3ed306499f34793e86d2a32695775dcd9f26c348d738a5f5c4",
        "23ee759b33ab2fa7d117eb359b6f8b2796e5a057a9300e7e4943433a62373acd",
        "e5b47e2c23bf099713c760a26ef687af3c8929588589ff9d4ee277e7c4400efc",
    ),
    "arguments that are no object": Pin(
        "a627fe9c2532e3cae6a8d0b980ad824d4c2ec98df879fe8bfb567df1ed6813c3",
        "3d8567ff3057d978fc5f916de9a8654c037e172454cd67aa575a57a7b8e493a8",
        "d6ca6fd02f93d4bb38a3d16c3566669cc62fa5d5455456c85d42a2da2c6cf56f",
        "62c9c080f0b7f0cdabdbaabda96e8fb93185bb429dca388ed36dd897ef1d265c",
    ),
    "arguments in one sentence": Pin(
        "eef1de304017be8398315ac753867ac0530a3fe8f3eeabfd80e5e0e0414a2681",
        "28f727d3d52e7343d1a96576880a76ac3e2434d27c04bdf9cce852c48da52207",
        "7eb879c186d7979ec8ac1722ffbde94e0999f3f5ebf14020eb3b9632b29fb674",
        "f231f611153ca7623b9d236396d677db833239528e8fbc9c7ea2d3320154901b",
    ),
    "tools": Pin(
        "8a4558b3c6779c733ae231f944961383a6ad69267320152723939e90634cb059",
        "42655e31361d79438bc88d810ea5828711a9173725eefbc1664f03a6ea8dee95",
        "7eb879c186d7979ec8ac1722ffbde94e0999f3f5ebf14020eb3b9632b29fb674",
        "96994ada7771225533240b7032c13b267a4b7f1f707ec7d0e87016d57c135660",
    ),
    "feedback": Pin(
        "2b87b71abcc605f2ee984b7928d774a26e2a28d6e28253739c6c4ccca85805fd",
        "c13b9afe0d117e57240dcefd7fc9e5554c77cd0bf042fc8effdc8358cd256fec",
        "2c6215aecc2b36d39c4286feca0e1ae0f3361d2460948dcc66f5e7057504caee",
        "897d46194ae65871e34a4682de0fd0c80ec6b382dddcc1338bbdccc56089bb9b",
    ),
    "a thought": Pin(
        "72964236111f0a248b90cca105644cde21d410c1dae3803c347eec21d8191297",
        "4111806ce3cf72a23ed2a7b8e7d93ec4f3bf0da60a76d3d58604283723571584",
        "58e3ad2ca3efa9bae610dabe3f2b3dba8e6eeeb0fcd15a7014077aeceffba0ed",
        "509cdb72a827b185f674c075cbfbc243f301318daeb1c6bb0a14dc6a0864f032",
    ),
    "parts": Pin(
        "7",
        "74c70c2f199a0ebdf436df1ae430a45f6622994c8f831df979b84d8815ad7dc5",
        "ea39d47fcd894c42c20278116e9a0716afb4ac047e2e48eaff11d37a9ebbd65f",
        "e084342c9284c4d82cfad75314091a3a33c374cd186603eef2269b239adc9239",
    ),
    "system alone": Pin(
        "db271d47187d33ee2f223dcf4080b8180b7630e63474f07b2baeee69ea487a8d",
        "6fb88f423abea7ffb3d485dbe1618179f7835a13cbad482df12758a75380ddf2",
        "cd39351d2c95ffca7c37b0695fbb163b1219c64c2b9882b2a5e42c8eea5ecce3",
        "77da3af1da77bde8bbb266afe760d26af91bb2074bded2a4f449fa1c755a2a73",
    ),
    "large integers as ids": Pin(
        "123456789012345678901234567890",
        "521249d5e268c84f6338536c99906b6941c70100693f0efeeb77f338ecfc3cfa",
        "7be60628a3ca0c783ea87efc25a3af371897150fb79c996b1db087a4727a6236",
        "ba87791bfc503c83faeb55fca793251e78881844784dcb4578e24c2529f8a52f",
    ),
}
"""As existing stores have them. Another digest would make every trace that is read again a revision."""


@pytest.mark.parametrize("name", ODD)
def test_an_odd_event_keeps_its_identity(name: str) -> None:
    """What stores hold of it stays, but for what is younger than they and says nothing."""
    (found,) = Decoders().decode(ODD[name], source="agent", timestamp=7.0)
    assert isinstance(found, Trace)
    written = found.model_dump(mode="json")
    written = {name: value for name, value in written.items() if value or name not in {"incomplete", "usage"}}
    payload = hashlib.sha256(canonical(written)).hexdigest()
    assert Pin(found.id, found.digest, cluster_of(found.messages), payload) == PINS[name]
