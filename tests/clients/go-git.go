// go-git as a client: clone|shallow|fetch|push URL FOLDER
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/ssh"
)

func auth(url string) transport.AuthMethod {
	if strings.HasPrefix(url, "ssh:") {
		keys, err := ssh.NewPublicKeysFromFile("git", os.Getenv("KEY"), "")
		check(err)
		return keys
	}
	return &http.BasicAuth{Username: "tester", Password: os.Getenv("TOKEN")}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	step, url, folder := os.Args[1], os.Args[2], os.Args[3]
	switch step {
	case "clone":
		_, err := git.PlainClone(folder, false, &git.CloneOptions{URL: url, Auth: auth(url)})
		check(err)
	case "shallow":
		repository, err := git.PlainClone(folder, false, &git.CloneOptions{URL: url, Auth: auth(url), Depth: 3})
		check(err)
		commits, err := repository.Log(&git.LogOptions{})
		check(err)
		count := 0
		for {
			if _, err := commits.Next(); err != nil {
				break
			}
			count++
		}
		if count != 3 {
			check(fmt.Errorf("%d commits", count))
		}
	case "fetch":
		repository, err := git.PlainOpen(folder)
		check(err)
		check(repository.Fetch(&git.FetchOptions{Auth: auth(url)}))
	case "push":
		repository, err := git.PlainOpen(folder)
		check(err)
		tree, err := repository.Worktree()
		check(err)
		check(os.WriteFile(filepath.Join(folder, "new-file"), []byte("new\n"), 0o644))
		_, err = tree.Add("new-file")
		check(err)
		me := &object.Signature{Name: "Tester", Email: "tester@example.org", When: time.Now()}
		_, err = tree.Commit("pushed", &git.CommitOptions{Author: me})
		check(err)
		for _, spec := range []config.RefSpec{"refs/heads/main:refs/heads/pushed", "refs/heads/main:refs/heads/gone", ":refs/heads/gone"} {
			check(repository.Push(&git.PushOptions{Auth: auth(url), RefSpecs: []config.RefSpec{spec}}))
		}
	}
}
