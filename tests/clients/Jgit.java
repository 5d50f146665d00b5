// JGit as a client: clone|shallow|fetch|push URL FOLDER
import java.io.File;
import java.nio.file.Files;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.lib.Repository;
import org.eclipse.jgit.transport.PushResult;
import org.eclipse.jgit.transport.RefSpec;
import org.eclipse.jgit.transport.RemoteRefUpdate;
import org.eclipse.jgit.transport.UsernamePasswordCredentialsProvider;

public class Jgit {
    public static void main(String[] args) throws Exception {
        String url = args[1].replaceFirst("//tester:[^@]*@", "//");
        File folder = new File(args[2]);
        UsernamePasswordCredentialsProvider who =
            new UsernamePasswordCredentialsProvider("tester", System.getenv("TOKEN"));
        switch (args[0]) {
            case "clone":
                Git.cloneRepository().setURI(url).setDirectory(folder).setCredentialsProvider(who).call();
                break;
            case "fetch":
                Git.open(folder).fetch().setCredentialsProvider(who).call();
                break;
            case "push":
                Git git = Git.open(folder);
                Files.write(new File(folder, "new-file").toPath(), "new\n".getBytes());
                git.add().addFilepattern("new-file").call();
                git.commit().setMessage("pushed").setAuthor("Tester", "tester@example.org").call();
                for (String spec : new String[] {"HEAD:refs/heads/pushed", "HEAD:refs/heads/gone", ":refs/heads/gone"}) {
                    for (PushResult result : git.push().setCredentialsProvider(who).setRefSpecs(new RefSpec(spec)).call()) {
                        for (RemoteRefUpdate update : result.getRemoteUpdates()) {
                            if (update.getStatus() != RemoteRefUpdate.Status.OK) {
                                throw new Exception(spec + ": " + update);
                            }
                        }
                    }
                }
                break;
            default:
                throw new Exception("this version of JGit makes no shallow clones");
        }
    }
}
