// As read.py, with spymemcached: read SETTINGS KEYS SERVER... SETTINGS is a format of names on the ring,
// SPYMEMCACHED (its default) or LIBMEMCACHED; weights other than 1 are given to the connection factory.

import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import net.spy.memcached.CachedData;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.KetamaConnectionFactory;
import net.spy.memcached.KetamaNodeKeyFormatter.Format;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.transcoders.Transcoder;

class Read {
    /** A ring as the settings say, and patience for a machine that does other work, too. */
    static final class Factory extends KetamaConnectionFactory {
        Factory(Format format, Map<InetSocketAddress, Integer> weights) {
            super(DEFAULT_OP_QUEUE_LEN, DEFAULT_READ_BUFFER_SIZE, DEFAULT_OP_QUEUE_MAX_BLOCK_TIME,
                DefaultHashAlgorithm.KETAMA_HASH, format, weights);
        }

        @Override
        public long getOperationTimeout() {
            return 20_000;
        }
    }

    /** A value as it is, whatever its flags. */
    static final class Bytes implements Transcoder<byte[]> {
        public boolean asyncDecode(CachedData data) {
            return false;
        }

        public CachedData encode(byte[] value) {
            throw new UnsupportedOperationException("nothing is stored here");
        }

        public byte[] decode(CachedData data) {
            return data.getData();
        }

        public int getMaxSize() {
            return CachedData.MAX_SIZE;
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<InetSocketAddress> servers = new ArrayList<>();
        Map<InetSocketAddress, Integer> weights = new HashMap<>();
        boolean weighted = false;
        for (String server : List.of(arguments).subList(2, arguments.length)) {
            String[] words = server.split(" ");
            int colon = words[0].lastIndexOf(':');
            String host = words[0].substring(0, colon);
            InetSocketAddress address =
                new InetSocketAddress(host, Integer.parseInt(words[0].substring(colon + 1)));
            servers.add(address);
            weights.put(address, Integer.valueOf(words[1]));
            weighted |= !words[1].equals("1");
        }
        Factory factory = new Factory(Format.valueOf(arguments[0]), weighted ? weights : Map.of());
        MemcachedClient client = new MemcachedClient(factory, servers);
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (String key : Files.readAllLines(Path.of(arguments[1]), StandardCharsets.UTF_8)) {
            byte[] value = client.get(key, new Bytes());
            StringBuilder line = new StringBuilder(value == null ? "-" : "");
            for (byte one : value == null ? new byte[0] : value) {
                line.append(Character.forDigit(one >> 4 & 15, 16)).append(Character.forDigit(one & 15, 16));
            }
            out.println(line);
        }
        out.flush();
        client.shutdown();
    }
}
