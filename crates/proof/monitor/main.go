// Reads a whole log as tlog-tiles and checks all of it, without any code of ours: filippo.io/torchwood fetches and
// authenticates the tiles, golang.org/x/mod opens the checkpoint and proves that the log has only grown.
//
//	TOKEN=… go run . [-old FILE] PREFIX KEY > checkpoint
//
// PREFIX is http://…/api/log/<tenant>, KEY a line of `logline keys`. It prints the checkpoint, to be kept for -old; the
// entries, which are the curr_hash of every span, go to stderr.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// bearer sends the token with every request.
type bearer struct{ token string }

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(request)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func open(text []byte, key note.Verifier) torchwood.Checkpoint {
	opened := must(note.Open(text, note.VerifierList(key)))
	return must(torchwood.ParseCheckpoint(opened.Text))
}

func main() {
	old := flag.String("old", "", "a checkpoint that was kept, which the log must have grown from")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: TOKEN=… monitor [-old FILE] PREFIX KEY")
	}
	ctx := context.Background()
	client := &http.Client{Transport: bearer{os.Getenv("TOKEN")}}
	fetcher := must(torchwood.NewTileFetcher(flag.Arg(0), torchwood.WithHTTPClient(client)))

	key := must(note.NewVerifier(flag.Arg(1)))
	text := must(fetcher.ReadEndpoint(ctx, "checkpoint"))
	checkpoint := open(text, key)
	if checkpoint.Origin != key.Name() {
		log.Fatalf("the checkpoint is of %s", checkpoint.Origin)
	}

	monitor := must(torchwood.NewClient(fetcher))
	next := int64(0)
	for next < checkpoint.N {
		for index, entry := range monitor.Entries(ctx, checkpoint.Tree, next) {
			fmt.Fprintf(os.Stderr, "%d %x\n", index+1, entry)
			next = index + 1
		}
		must(0, monitor.Err())
	}

	if *old != "" {
		before := open(must(os.ReadFile(*old)), key)
		reader := torchwood.TileHashReaderWithContext(ctx, checkpoint.Tree, fetcher)
		proof := must(tlog.ProveTree(checkpoint.N, before.N, reader))
		must(0, tlog.CheckTree(proof, checkpoint.N, checkpoint.Hash, before.N, before.Hash))
	}
	must(bytes.NewReader(text).WriteTo(os.Stdout))
}
