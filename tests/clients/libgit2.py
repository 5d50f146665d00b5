"""libgit2 (pygit2) as a client: clone|shallow|fetch|push URL FOLDER"""
import os
import sys

import pygit2


class Callbacks(pygit2.RemoteCallbacks):
    def credentials(self, url, username, allowed):
        if allowed & pygit2.enums.CredentialType.SSH_KEY:
            return pygit2.Keypair("git", os.environ["KEY"] + ".pub", os.environ["KEY"], "")
        return pygit2.UserPass("tester", os.environ["TOKEN"])

    def certificate_check(self, certificate, valid, host):
        return True

    def push_update_reference(self, name, message):
        if message is not None:
            raise SystemExit(f"{name}: {message}")


step, url, folder = sys.argv[1:4]
if step == "clone":
    pygit2.clone_repository(url, folder, callbacks=Callbacks())
elif step == "shallow":
    repository = pygit2.clone_repository(url, folder, callbacks=Callbacks(), depth=3)
    count = len(list(repository.walk(repository.head.target)))
    assert count == 3, count
elif step == "fetch":
    repository = pygit2.Repository(folder)
    repository.remotes["origin"].fetch(callbacks=Callbacks())
elif step == "push":
    repository = pygit2.Repository(folder)
    me = pygit2.Signature("Tester", "tester@example.org")
    index = repository.index
    with open(os.path.join(folder, "new-file"), "w") as file:
        file.write("new\n")
    index.add("new-file")
    index.write()
    repository.create_commit("HEAD", me, me, "pushed", index.write_tree(), [repository.head.target])
    head = repository.head.name
    remote = repository.remotes["origin"]
    remote.push([f"{head}:refs/heads/pushed", f"{head}:refs/heads/gone"], callbacks=Callbacks())
    remote.push([":refs/heads/gone"], callbacks=Callbacks())
