// JSch as an SSH client: KEY PORT KNOWN_HOSTS. Runs a verb, twice; it knows no Ed25519 and no AES-GCM.
import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import java.util.Scanner;

public class Jsch {
    public static void main(String[] args) throws Exception {
        for (int n = 0; n < 2; n++) {
            JSch jsch = new JSch();
            jsch.addIdentity(args[0]);
            jsch.setKnownHosts(args[2]);
            Session session = jsch.getSession("git", "127.0.0.1", Integer.parseInt(args[1]));
            session.setConfig("server_host_key", "ecdsa-sha2-nistp256");
            session.connect(20000);
            ChannelExec channel = (ChannelExec) session.openChannel("exec");
            channel.setCommand("repo list");
            channel.setInputStream(null);
            Scanner answer = new Scanner(channel.getInputStream()).useDelimiter("\\A");
            channel.connect();
            if (!answer.hasNext() || !answer.next().contains("NAME")) {
                throw new Exception("no answer");
            }
            session.disconnect();
        }
    }
}
