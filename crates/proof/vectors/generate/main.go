// Writes the vectors beside this folder, with implementations that are not ours:
// golang.org/x/mod makes trees, proofs, notes and tile paths, github.com/transparency-dev/merkle
// checks every proof again, filippo.io/torchwood checks checkpoints, cosignatures and tile paths.
//
// Run it in this folder: go run .
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const leaves = 70_000

// Leaf i holds the SHA-256 of i in decimal.
func leaf(i int64) []byte {
	hash := sha256.Sum256(fmt.Appendf(nil, "%d", i))
	return hash[:]
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func write(name string, value any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(value))
	check(os.WriteFile("../"+name, out.Bytes(), 0o644))
}

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		hashes = append(hashes, s[index])
	}
	return hashes, nil
}

type rootVector struct {
	Size int64     `json:"size"`
	Root tlog.Hash `json:"root"`
}

type inclusionVector struct {
	Size  int64       `json:"size"`
	Index int64       `json:"index"`
	Path  []tlog.Hash `json:"path"`
}

type consistencyVector struct {
	Old  int64       `json:"old"`
	New  int64       `json:"new"`
	Path []tlog.Hash `json:"path"`
}

func slices(hashes []tlog.Hash) [][]byte {
	out := [][]byte{}
	for _, hash := range hashes {
		out = append(out, hash[:])
	}
	return out
}

func hexes(list [][]byte) []string {
	out := []string{}
	for _, bytes := range list {
		out = append(out, hex.EncodeToString(bytes))
	}
	return out
}

func trees(tree stored) {
	root := func(size int64) tlog.Hash { return must(tlog.TreeHash(size, tree)) }
	roots := []rootVector{}
	for size := int64(0); size <= 300; size++ {
		if size <= 40 || size%16 <= 1 || size%16 == 15 {
			roots = append(roots, rootVector{size, root(size)})
		}
	}
	for _, size := range []int64{65_535, 65_536, 65_537, 65_792, leaves} {
		roots = append(roots, rootVector{size, root(size)})
	}

	inclusions := []inclusionVector{}
	for _, size := range []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33, 100, 255, 256, 257, 300, 65_537, leaves} {
		seen := map[int64]bool{}
		for _, index := range []int64{0, 1, size / 3, size / 2, size - 2, size - 1} {
			if index < 0 || index >= size || seen[index] {
				continue
			}
			seen[index] = true
			path := must(tlog.ProveRecord(size, index, tree))
			hash, top := tlog.RecordHash(leaf(index)), root(size)
			check(tlog.CheckRecord(path, size, top, index, hash))
			check(proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), hash[:], slices(path), top[:]))
			inclusions = append(inclusions, inclusionVector{size, index, append([]tlog.Hash{}, path...)})
		}
	}

	consistencies := []consistencyVector{}
	sizes := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 100, 255, 256, 257, 300, 65_536, leaves}
	for _, size := range sizes {
		for _, old := range sizes {
			if old > size || (old > 9 && size > 300 && old < 255) {
				continue
			}
			path := must(tlog.ProveTree(size, old, tree))
			before, after := root(old), root(size)
			check(tlog.CheckTree(path, size, after, old, before))
			check(proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), slices(path), before[:], after[:]))
			consistencies = append(consistencies, consistencyVector{old, size, append([]tlog.Hash{}, path...)})
		}
	}
	write("tree.json", map[string]any{
		"about":         "Leaf i holds the SHA-256 of i in decimal. Made by golang.org/x/mod/sumdb/tlog, each proof checked by github.com/transparency-dev/merkle too (generate/main.go).",
		"roots":         roots,
		"inclusions":    inclusions,
		"consistencies": consistencies,
		"reference": map[string]any{
			"about":  "The eight leaves of Certificate Transparency's reference tree and the roots above the first n of them, as github.com/transparency-dev/merkle/testonly publishes them.",
			"leaves": hexes(testonly.LeafInputs()),
			"roots":  hexes(testonly.RootHashes()),
		},
	})
}

// The Ed25519 key whose seed is one byte, 32 times.
func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func signer(name string, seed byte) (note.Signer, string) {
	vkey := must(note.NewEd25519VerifierKey(name, key(seed).Public().(ed25519.PublicKey)))
	verifier := must(note.NewVerifier(vkey))
	secret := append([]byte{1}, bytes.Repeat([]byte{seed}, 32)...)
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, verifier.KeyHash(), base64.StdEncoding.EncodeToString(secret))
	return must(note.NewSigner(skey)), vkey
}

// A cosignature at a fixed time; torchwood signs with its clock, so it only checks.
type cosigner struct {
	*torchwood.CosignatureSigner
	seed byte
	time uint64
}

func (c cosigner) Sign(text []byte) ([]byte, error) {
	message := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", c.time, text)
	signature := binary.BigEndian.AppendUint64(nil, c.time)
	return append(signature, ed25519.Sign(key(c.seed), message)...), nil
}

func cosign(name string, seed byte, time uint64) (cosigner, string) {
	inner := must(torchwood.NewCosignatureSigner(name, key(seed)))
	material := append([]byte{4}, key(seed).Public().(ed25519.PublicKey)...)
	vkey := fmt.Sprintf("%s+%08x+%s", name, inner.KeyHash(), base64.StdEncoding.EncodeToString(material))
	return cosigner{inner, seed, time}, vkey
}

type noteVector struct {
	Name   string `json:"name"`
	Seed   byte   `json:"seed"`
	Vkey   string `json:"vkey"`
	Text   string `json:"text"`
	Signed string `json:"signed"`
}

func notes() {
	vectors := []noteVector{}
	for seed, text := range []string{
		"one line\n",
		"two lines\nwith an empty one after them\n\nand a third\n",
		"ends in an empty line\n\n",
		"Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n",
		"logline.example/acme\n1\n" + tlog.RecordHash(leaf(0)).String() + "\n",
	} {
		name := fmt.Sprintf("logline.example/t%d", seed)
		signer, vkey := signer(name, byte(seed))
		signed := must(note.Sign(&note.Note{Text: text}, signer))
		must(note.Open(signed, note.VerifierList(must(note.NewVerifier(vkey)))))
		vectors = append(vectors, noteVector{name, byte(seed), vkey, text, string(signed)})
	}
	write("note.json", map[string]any{
		"about":   "Signed by golang.org/x/mod/sumdb/note; a seed is one byte, 32 times (generate/main.go).",
		"vectors": vectors,
		"example": map[string]string{
			"about":  "The example of golang.org/x/mod/sumdb/note.",
			"vkey":   "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
			"signed": "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
		},
	})
}

func checkpoints(tree stored) {
	const origin, size, old, index = "logline.example/acme", leaves, 65_537, 12_345
	log, logVkey := signer(origin, 1)
	first, firstVkey := cosign("witness.example/w1", 2, 1679315147)
	second, secondVkey := cosign("witness.example/w2", 3, 1769860800)
	head := torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: must(tlog.TreeHash(size, tree))}}
	signed := must(note.Sign(&note.Note{Text: head.String()}, log))
	cosigned := must(note.Sign(&note.Note{Text: head.String()}, log, first, second))
	opened := must(note.Open(cosigned, note.VerifierList(must(note.NewVerifier(logVkey)), first.Verifier(), second.Verifier())))
	if parsed := must(torchwood.ParseCheckpoint(opened.Text)); len(opened.Sigs) != 3 || parsed != head {
		panic("the checkpoint does not verify")
	}

	path := must(tlog.ProveRecord(size, index, tree))
	var file bytes.Buffer
	fmt.Fprintf(&file, "c2sp.org/tlog-proof@v1\nextra %s\nindex %d\n", base64.StdEncoding.EncodeToString([]byte("extra")), index)
	for _, hash := range path {
		fmt.Fprintf(&file, "%s\n", hash)
	}
	fmt.Fprintf(&file, "\n%s", cosigned)

	var request bytes.Buffer
	fmt.Fprintf(&request, "old %d\n", old)
	for _, hash := range must(tlog.ProveTree(size, old, tree)) {
		fmt.Fprintf(&request, "%s\n", hash)
	}
	fmt.Fprintf(&request, "\n%s", signed)

	write("checkpoint.json", map[string]any{
		"about":      "The tree of tree.json as a checkpoint of golang.org/x/mod/sumdb/note, whose cosignatures filippo.io/torchwood accepts; in a c2sp.org/tlog-proof for one leaf; and in a c2sp.org/tlog-witness request (generate/main.go).",
		"origin":     origin,
		"size":       size,
		"root":       head.Hash,
		"log":        map[string]any{"vkey": logVkey, "seed": 1},
		"witnesses":  []map[string]any{{"vkey": firstVkey, "seed": 2, "time": first.time}, {"vkey": secondVkey, "seed": 3, "time": second.time}},
		"signed":     string(signed),
		"cosigned":   string(cosigned),
		"index":      index,
		"tlog_proof": file.String(),
		"old":        old,
		"request":    request.String(),
	})
}

type tileVector struct {
	Level int    `json:"level"`
	Index int64  `json:"index"`
	Width int    `json:"width"`
	Path  string `json:"path"`
	Bytes string `json:"sha256,omitempty"`
}

func tiles(tree stored) {
	paths := []tileVector{}
	for _, level := range []int{-1, 0, 1, 2, 7, 63} {
		for _, index := range []int64{0, 5, 999, 1_000, 67_000, 1_234_067, 1_000_000_000} {
			for _, width := range []int{1, 112, 255, 256} {
				tile := tlog.Tile{H: torchwood.TileHeight, L: level, N: index, W: width}
				path := torchwood.TilePath(tile)
				if must(torchwood.ParseTilePath(path)) != tile {
					panic(path)
				}
				paths = append(paths, tileVector{level, index, width, path, ""})
			}
		}
	}
	exist := []map[string]any{}
	for _, size := range []int64{0, 1, 255, 256, 257, 65_536, leaves} {
		found := []tileVector{}
		for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
			data := must(tlog.ReadTileData(tile, tree))
			hash := sha256.Sum256(data)
			found = append(found, tileVector{tile.L, tile.N, tile.W, torchwood.TilePath(tile), hex.EncodeToString(hash[:])})
		}
		if len(found) > 20 {
			found = append(found[:3:3], found[len(found)-8:]...)
		}
		exist = append(exist, map[string]any{"size": size, "count": len(tlog.NewTiles(torchwood.TileHeight, 0, size)), "tiles": found})
	}
	entries := []byte{}
	for i := range int64(3) {
		entries = must(torchwood.AppendTileEntry(entries, leaf(i)))
	}
	refused := []string{
		"tile", "tile/", "tile/0", "tile/0/", "tile/00/000", "tile/0/0", "tile/0/0000", "tile/0/x000",
		"tile/0/x000/001", "tile/0/001/002", "tile/0/x001/x002", "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/01",
		"tile/0/000.p/256", "tile/0/000/", "/tile/0/000", "tile/0/+01", "tile/entries/", "tile/entries/x001",
	}
	for _, path := range refused {
		if tile, err := torchwood.ParseTilePath(path); err == nil {
			panic(fmt.Sprint(path, tile))
		}
	}
	write("tile.json", map[string]any{
		"about":   "Paths by filippo.io/torchwood (level -1 is a bundle of entries), which tiles a tree has and what they hold by golang.org/x/mod/sumdb/tlog; of many tiles the first three and the last eight (generate/main.go).",
		"paths":   paths,
		"exist":   exist,
		"refused": refused,
		"entries": hex.EncodeToString(entries),
	})
}

func main() {
	tree := stored{}
	for i := range int64(leaves) {
		tree = append(tree, must(tlog.StoredHashes(i, leaf(i), tree))...)
	}
	trees(tree)
	notes()
	checkpoints(tree)
	tiles(tree)
}
