package sourcetest

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The credentials that the servers accept.
const (
	AccessKey = "ephemera"
	SecretKey = "ephemera-secret"
)

// S3 starts an S3 server for the length of a test, on loopback, and returns
// its URL. Its buckets are the folders of dir. EPHEMERA_VERSITYGW names the
// program, as make real sets it.
func S3(t testing.TB, dir string) string {
	t.Helper()
	address := freeAddress(t)
	start(t, "EPHEMERA_VERSITYGW", []string{"--port", address, "--health", "/health", "--quiet", "posix", dir},
		"ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	return answers(t, "http://"+address, "/health")
}

// Moto starts moto, which speaks the interfaces of AWS, for the length of a
// test, on loopback, and returns its URL. Settings are of the form
// NAME=value. EPHEMERA_MOTO names the program, as make real sets it.
func Moto(t testing.TB, settings ...string) string {
	t.Helper()
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	start(t, "EPHEMERA_MOTO", []string{"-H", host, "-p", port}, settings...)
	return answers(t, "http://"+address, "/moto-api/data.json")
}

// freeAddress is an address on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the program that the variable names until the end of the test.
func start(t testing.TB, variable string, args []string, env ...string) {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		t.Fatal(variable + " does not name a program; run make real")
	}
	var said bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the end of what %s said:\n%s", program, said.Bytes()[max(0, said.Len()-2000):])
		}
	})
}

// answers waits until the server does, and returns its URL.
func answers(t testing.TB, url, path string) string {
	t.Helper()
	client := http.Client{Timeout: time.Second}
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if r, err := client.Get(url + path); err == nil {
			_ = r.Body.Close() // that it answered is enough
			return url
		}
	}
	t.Fatalf("%s does not answer within a minute", url)
	return ""
}
