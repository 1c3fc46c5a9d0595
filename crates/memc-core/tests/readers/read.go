// As read.py, with gomemcache: read SETTINGS KEYS SERVER... It has no settings; a server with a weight is listed
// that often.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

func main() {
	var servers []string
	for _, server := range os.Args[3:] {
		words := strings.Split(server, " ")
		weight, err := strconv.Atoi(words[1])
		if err != nil {
			log.Fatal(err)
		}
		for ; weight > 0; weight-- {
			servers = append(servers, strings.TrimPrefix(words[0], "unix:"))
		}
	}
	keys, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	client := memcache.New(servers...)
	// A machine that does other work may take longer than the default of less than a second.
	client.Timeout = 20 * time.Second
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines := bufio.NewScanner(keys); lines.Scan(); {
		item, err := client.Get(lines.Text())
		switch {
		case err == memcache.ErrCacheMiss:
			fmt.Fprintln(out, "-")
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Fprintf(out, "%x\n", item.Value)
		}
	}
}
