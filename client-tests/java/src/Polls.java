import io.socket.client.IO;
import io.socket.client.Socket;
import java.net.URI;
import java.util.HashMap;
import java.util.Map;
import org.json.JSONObject;

/** The stock Java client, over polling alone; prints the number of each event that it gets. It goes on from its cursor. */
public final class Polls {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> auth = new HashMap<>();
        auth.put("token", System.getenv("TOKEN"));
        IO.Options options = new IO.Options();
        options.auth = auth;
        options.transports = new String[] {"polling"};
        options.timestampRequests = true;
        options.reconnectionDelay = 20;
        options.reconnectionDelayMax = 50;
        Socket socket = IO.socket(URI.create(System.getenv("URL")), options);
        socket.on("incident_created", given -> {
            keepCursor(auth, given);
            System.out.println("event " + data(given).optInt("n"));
        });
        socket.on("connection_established", given -> {
            keepCursor(auth, given);
            System.out.println("resume " + data(given).optString("resume"));
        });
        socket.on("cursor", given -> keepCursor(auth, given));
        socket.on("resync_required", given -> System.out.println("resync"));
        socket.connect();
        while (System.in.read() >= 0) {}
        System.exit(0);
    }

    private static JSONObject data(Object[] given) {
        return ((JSONObject) given[0]).optJSONObject("data");
    }

    private static void keepCursor(Map<String, String> auth, Object[] given) {
        for (Object argument : given) {
            if (argument instanceof String && ((String) argument).startsWith("v1.")) {
                auth.put("cursor", (String) argument);
            }
        }
    }
}
