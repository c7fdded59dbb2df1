import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Manager;
import io.socket.client.Socket;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.json.JSONArray;
import org.json.JSONObject;

/**
 * Stock Java clients that print what they see, a line each, and go on from their cursors. Arguments: NAME URL TOKEN, again and again. A name
 * that ends in -ws: WebSocket only; in -polling: no WebSocket. Two of one URL share a connection, the second (-2) is in the namespace /ws.
 * ROOMS: what they join.
 */
public final class Follow {
    /** Milliseconds. */
    private static final int PATIENCE = 15_000;

    private static final JSONArray ROOMS = new JSONArray(Arrays.asList(System.getenv("ROOMS").split(" ")));
    private static volatile boolean settling;

    private final String name;
    private final Map<Object, Object> auth = new HashMap<>();
    private final AtomicInteger session = new AtomicInteger();
    private Socket socket;

    private Follow(String name, String token) {
        this.name = name;
        auth.put("token", token);
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Manager> managers = new HashMap<>();
        for (int at = 0; at < arguments.length; at += 3) {
            new Follow(arguments[at], arguments[at + 2]).start(URI.create(arguments[at + 1]), managers);
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) settling = true;
        System.exit(0);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private void start(URI url, Map<String, Manager> managers) {
        IO.Options options = new IO.Options();
        options.auth = (Map) auth;
        options.timestampRequests = true;
        options.reconnectionDelay = 20;
        options.reconnectionDelayMax = 50;
        options.forceNew = true;
        if (name.contains("-ws")) options.transports = new String[] {"websocket"};
        if (name.endsWith("-polling")) options.transports = new String[] {"polling"};
        Manager shared = managers.get(url.toString());
        socket = shared == null ? IO.socket(url, options) : shared.socket("/ws", options);
        if (shared == null) managers.put(url.toString(), socket.io());
        socket.onAnyIncoming(this::heard);
        socket.connect();
    }

    /** The event's name comes first, an acknowledgement's function last. */
    private void heard(Object... given) {
        String event = (String) given[0];
        for (Object argument : given) {
            if (argument instanceof String && ((String) argument).startsWith("v1.")) auth.put("cursor", argument);
        }
        JSONObject data = given[1] instanceof JSONObject ? ((JSONObject) given[1]).optJSONObject("data") : null;
        if (event.equals("connection_established")) {
            say("session " + data.optString("resume") + " " + data.optString("connection_id"));
            if (session.incrementAndGet() == 1) join();
        } else if (event.equals("resync_required") || event.equals("error")) {
            say("fault " + event + " " + data);
        } else if (event.equals("asset_position_updated")) {
            say("position " + data.optString("asset_id") + " " + data.optInt("n"));
        } else if (data != null && data.has("stream")) {
            say("event " + data.optString("stream") + " " + data.optInt("n") + " " + data.optInt("order"));
        }
        Object last = given[given.length - 1];
        if (last instanceof Ack) ((Ack) last).call();
    }

    private void join() {
        socket.emit("subscribe", object("rooms", ROOMS), (Ack) answer -> {
            check(answer);
            auth.put("rooms", ROOMS);
            say("ready");
            Thread commands = new Thread(this::ask);
            commands.setDaemon(true);
            commands.start();
        });
    }

    private void ask() {
        try {
            while (true) {
                Thread.sleep((long) (50 + Math.random() * 250));
                if (settling || !socket.connected()) continue;
                int before = session.get();
                AtomicBoolean answered = new AtomicBoolean();
                say("asked");
                socket.emit("rooms", object("n", 0), (Ack) answer -> {
                    check(answer);
                    answered.set(true);
                });
                for (int waited = 0; !answered.get() && session.get() == before && waited < PATIENCE; waited += 5) {
                    Thread.sleep(5);
                }
                if (answered.get()) say("answered");
                else if (session.get() != before) say("cut");
                else say("fault a command was not answered");
            }
        } catch (InterruptedException end) {
            say("fault " + end);
        }
    }

    private static JSONObject object(String key, Object value) {
        Map<String, Object> fields = new HashMap<>();
        fields.put(key, value);
        return new JSONObject(fields);
    }

    private void check(Object[] answer) {
        if (!((JSONObject) answer[0]).optBoolean("success")) say("fault the answer is " + answer[0]);
    }

    private void say(String words) {
        synchronized (Follow.class) {
            System.out.println(name + " " + words);
        }
    }
}
