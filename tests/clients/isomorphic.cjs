// isomorphic-git as a client: clone|shallow|fetch|push URL FOLDER
const fs = require('fs');
const git = require('isomorphic-git');
const http = require('isomorphic-git/http/node');

const [step, url, dir] = process.argv.slice(2);
const onAuth = () => ({ username: 'tester', password: process.env.TOKEN });
const clean = url.replace(/\/\/[^@]*@/, '//');
const author = { name: 'Tester', email: 'tester@example.org' };

async function main() {
  if (step === 'clone') await git.clone({ fs, http, dir, url: clean, onAuth });
  if (step === 'shallow') {
    await git.clone({ fs, http, dir, url: clean, onAuth, depth: 3, singleBranch: true });
    const count = (await git.log({ fs, dir })).length;
    if (count !== 3) throw new Error(`${count} commits`);
  }
  if (step === 'fetch') await git.fetch({ fs, http, dir, url: clean, onAuth });
  if (step === 'push') {
    fs.writeFileSync(`${dir}/new-file`, 'new\n');
    await git.add({ fs, dir, filepath: 'new-file' });
    await git.commit({ fs, dir, message: 'pushed', author });
    for (const remoteRef of ['refs/heads/pushed', 'refs/heads/gone']) {
      const result = await git.push({ fs, http, dir, url: clean, onAuth, ref: 'main', remoteRef });
      if (!result.ok) throw new Error(JSON.stringify(result));
    }
    await git.push({ fs, http, dir, url: clean, onAuth, ref: 'main', remoteRef: 'refs/heads/gone', delete: true });
  }
}
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
