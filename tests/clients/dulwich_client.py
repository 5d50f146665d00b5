"""dulwich as a client: clone|shallow|fetch|push URL FOLDER. DULWICH_SSH=paramiko: SSH by paramiko, and not by ssh(1)."""
import os
import sys

import dulwich.client
from dulwich import porcelain
from dulwich.repo import Repo

if os.environ.get("DULWICH_SSH") == "paramiko":
    import paramiko
    from dulwich.contrib.paramiko_vendor import ParamikoSSHVendor

    class Vendor(ParamikoSSHVendor):
        def __init__(self, **kwargs):
            super().__init__(pkey=paramiko.ECDSAKey.from_private_key_file(os.environ["KEY"]), **kwargs)

    dulwich.client.get_ssh_vendor = Vendor

step, url, folder = sys.argv[1:4]
if step == "clone":
    porcelain.clone(url, folder)
elif step == "shallow":
    porcelain.clone(url, folder, depth=3)
    repository = Repo(folder)
    count = sum(1 for _ in repository.get_walker())
    assert count == 3, count
elif step == "fetch":
    porcelain.fetch(folder, url)
elif step == "push":
    with open(os.path.join(folder, "new-file"), "w") as file:
        file.write("new\n")
    porcelain.add(folder, [os.path.join(folder, "new-file")])
    porcelain.commit(folder, message=b"pushed", author=b"T <t@example.org>", committer=b"T <t@example.org>")
    porcelain.push(folder, url, [b"HEAD:refs/heads/pushed", b"HEAD:refs/heads/gone"])
    porcelain.push(folder, url, [b":refs/heads/gone"])
