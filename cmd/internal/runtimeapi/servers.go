package runtimeapi

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"ephemera/ingest/sourcetest"
)

// S3 starts an S3 server for the length of a test, on loopback, and returns
// its URL. Its buckets are the folders of dir; it takes the credentials of
// sourcetest. Notify hears of what happens to objects, soon after it did, in
// any order, and by several goroutines at a time. EPHEMERA_VERSITYGW names
// the program, as make real sets it.
func S3(t testing.TB, dir string, notify func(Notice)) string {
	t.Helper()
	program := os.Getenv("EPHEMERA_VERSITYGW")
	if program == "" {
		t.Fatal("EPHEMERA_VERSITYGW does not name a program; run make real")
	}
	relay := &Relay{Folder: dir, Notify: notify}
	webhook := httptest.NewServer(relay)
	t.Cleanup(func() {
		webhook.Close()
		if err := relay.Err(); err != nil {
			t.Error(err)
		}
	})
	address := freeAddress(t)
	var said bytes.Buffer
	cmd := exec.Command(program, "--port", address, "--health", "/health", "--quiet", "--event-webhook-url", webhook.URL, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+sourcetest.AccessKey, "ROOT_SECRET_KEY="+sourcetest.SecretKey)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the end of what the S3 server said:\n%s", said.Bytes()[max(0, said.Len()-2000):])
		}
	})
	client := http.Client{Timeout: time.Second}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if r, err := client.Get("http://" + address + "/health"); err == nil {
			_ = r.Body.Close() // that it answered is enough
			return "http://" + address
		}
	}
	t.Fatal("the S3 server does not answer within a minute")
	return ""
}

// freeAddress is an address on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}
