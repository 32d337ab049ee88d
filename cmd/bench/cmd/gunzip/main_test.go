package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	dir := t.TempDir()
	var places []string
	for _, n := range []int{0, 1, 300_000} {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		places = append(places, write(t, dir, b.Bytes()))
	}
	for library := range libraries {
		for _, jobs := range []string{"1", "2", "9"} {
			var stdout strings.Builder
			err := run(append([]string{"--library", library, "--jobs", jobs}, places...), &stdout)
			if err != nil || stdout.String() != "bytes 300001\n" {
				t.Errorf("%s, %s jobs: got %q, %v", library, jobs, stdout.String(), err)
			}
		}
		bad := append([]string{"--library", library, write(t, dir, []byte("no gzip")), "nothing"}, places...)
		if err := run(bad, &strings.Builder{}); err == nil {
			t.Errorf("%s: a damaged file is no error", library)
		}
	}
	if err := run([]string{"--library", "zlib"}, &strings.Builder{}); err == nil {
		t.Error("zlib is taken for a library")
	}
}

func write(t *testing.T, dir string, data []byte) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
