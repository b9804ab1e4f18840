import time
from containers.conftest import ContainerClient
async def test_x(client: ContainerClient) -> None:
    n=0
    bad=[]
    for r in range(12):
        keys=[]
        for i in range(3):
            k=f"c{r}-{i}"; client.contain(k,"echo hi; exit 3", slot=i); keys.append(k)
        for i in range(12):
            k=f"p{r}-{i}"; client.shell(k,"(sleep 0.01 &) ; sleep 0.0%d; exit 3"%i, slot=10+i); keys.append(k)
        for k in keys:
            e=client.end_of(k)
            if e["code"]!=3: bad.append((k,e,client.err(k)))
    print(bad)
    assert not bad
