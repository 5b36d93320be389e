import java.io.FileInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** TLS that no probe enters (JSSE): `java Shape.java URL CA MODEL[@URL]...` with java.net.http. A call that breaks off is no reason to stop. */
public class Shape {
    public static void main(String[] args) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream file = new FileInputStream(args[1])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        // Over HTTP/2 a client says much besides its requests (windows, pings), so calls cannot be told apart from outside.
        HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).sslContext(tls).connectTimeout(Duration.ofSeconds(20)).build();
        for (int n = 2; n < args.length; n++) {
            String[] call = args[n].split("@");
            String body = "{\"model\":\"" + call[0] + "\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hello, how are you today?\"}]}";
            HttpRequest request = HttpRequest.newBuilder(URI.create((call.length > 1 ? call[1] : args[0]) + "/v1/chat/completions"))
                .header("content-type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
            long events = -1;
            try {
                events = client.send(request, HttpResponse.BodyHandlers.ofLines()).body()
                    .filter(line -> line.startsWith("data: ")).count();
            } catch (IOException | UncheckedIOException broken) {
                System.err.println(broken);
            }
            System.out.println("{\"end\":\"" + args[n] + "\",\"events\":" + events + "}");
        }
    }
}
