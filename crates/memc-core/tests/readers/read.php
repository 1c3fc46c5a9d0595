<?php
// As read.py, with php-memcached: read.php SETTINGS KEYS SERVER...

[, $settings, $keys] = $argv;
$client = new Memcached();
foreach (json_decode($settings, true) as $option => $value) {
    $value = is_string($value) ? constant("Memcached::$value") : $value;
    $client->setOption(constant("Memcached::$option"), $value);
}
foreach (array_slice($argv, 3) as $server) {
    [$address, $weight] = explode(' ', $server);
    if (str_starts_with($address, 'unix:')) {
        $client->addServer(substr($address, 5), 0, (int) $weight);
    } else {
        [$host, $port] = explode(':', $address);
        $client->addServer($host, (int) $port, (int) $weight);
    }
}
foreach (array_chunk(file($keys, FILE_IGNORE_NEW_LINES), 100) as $hundred) {
    foreach (array_slice($hundred, 0, 25) as $key) {
        $value = $client->get($key);
        echo $client->getResultCode() === Memcached::RES_SUCCESS ? bin2hex($value) : '-', "\n";
    }
    $together = array_slice($hundred, 25);
    $found = $together ? $client->getMulti($together) : [];
    foreach ($together as $key) {
        echo isset($found[$key]) ? bin2hex($found[$key]) : '-', "\n";
    }
}
