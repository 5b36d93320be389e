// A client of Go's own standard library: `client MODEL...`, one call a model.
//
// Environment and output as in ../common.py: BASE_URL, SSL_CERT_FILE (which Go reads itself), CLIENT_API (`chat`, `responses`
// or `messages`), CLIENT_STREAM, CLIENT_PARALLEL, CLIENT_CANCEL, CLIENT_GO, CLIENT_PROMPT, CLIENT_SECRET. CLIENT_HTTP: `2`
// (what Go takes by itself) or `1.1`. CLIENT_NEW: `1` makes a connection for each call. CLIENT_WARM: as there.
// CLIENT_CROWD: no calls, but so many connections that wait (crowd.go).
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

var paths = map[string]string{
	"chat":      "/v1/chat/completions",
	"responses": "/v1/responses",
	"messages":  "/v1/messages",
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func number(name string, otherwise int) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return value
}

var lock sync.Mutex

func say(line map[string]any) {
	text, _ := json.Marshal(line)
	lock.Lock()
	defer lock.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func body(api, model string) []byte {
	prompt := setting("CLIENT_PROMPT", "Tell me about rivers.")
	said := map[string]any{"model": model, "stream": setting("CLIENT_STREAM", "1") == "1"}
	messages := []map[string]string{{"role": "user", "content": prompt}}
	switch api {
	case "responses":
		said["input"] = prompt
	case "messages":
		said["messages"], said["max_tokens"] = messages, 1024
	default:
		said["messages"], said["stream_options"] = messages, map[string]bool{"include_usage": true}
	}
	text, _ := json.Marshal(said)
	return text
}

// visible is what of an event a person would see.
func visible(event []byte) string {
	var said struct {
		Type    string
		Delta   json.RawMessage
		Choices []struct{ Delta struct{ Content string } }
	}
	if json.Unmarshal(event, &said) != nil {
		return ""
	}
	for _, choice := range said.Choices {
		return choice.Delta.Content
	}
	var text string
	if said.Type == "response.output_text.delta" && json.Unmarshal(said.Delta, &text) == nil {
		return text
	}
	var delta struct{ Text string }
	_ = json.Unmarshal(said.Delta, &delta)
	return delta.Text
}

func call(client *http.Client, model string) (int, error) {
	api, cancel := setting("CLIENT_API", "chat"), number("CLIENT_CANCEL", 0)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, "POST", os.Getenv("BASE_URL")+paths[api], bytes.NewReader(body(api, model)))
	if err != nil {
		return 0, err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("authorization", "Bearer "+setting("CLIENT_SECRET", "sk-test-not-a-secret"))
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		io.Copy(io.Discard, answer.Body)
		return 0, fmt.Errorf("status %d", answer.StatusCode)
	}
	chars := 0
	lines := bufio.NewReaderSize(answer.Body, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if bytes.HasPrefix(line, []byte("data: {")) {
			chars += utf8.RuneCountInString(visible(line[6:]))
		}
		if cancel > 0 && chars >= cancel {
			return chars, nil
		}
		if err == io.EOF {
			return chars, nil
		}
		if err != nil {
			return chars, err
		}
	}
}

func client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = os.Getenv("CLIENT_NEW") == "1"
	transport.MaxIdleConnsPerHost = 256
	if setting("CLIENT_HTTP", "2") == "1.1" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		transport.ForceAttemptHTTP2 = false
	}
	return &http.Client{Transport: transport}
}

func main() {
	if count := number("CLIENT_CROWD", 0); count > 0 {
		crowd(count)
		return
	}
	if os.Getenv("CLIENT_GO") == "1" {
		say(map[string]any{"ready": true, "pid": os.Getpid()})
		bufio.NewReader(os.Stdin).ReadString('\n')
	}
	shared := client()
	if warm := os.Getenv("CLIENT_WARM"); warm != "" {
		call(shared, warm)
	}
	slots := make(chan bool, number("CLIENT_PARALLEL", 1))
	var running sync.WaitGroup
	for _, model := range os.Args[1:] {
		slots <- true
		running.Add(1)
		go func(model string) {
			defer func() { <-slots; running.Done() }()
			began := time.Now()
			say(map[string]any{"begin": model, "pid": os.Getpid()})
			chars, err := call(shared, model)
			ended := map[string]any{"end": model, "chars": chars, "error": nil, "seconds": time.Since(began).Seconds()}
			if err != nil {
				ended["error"] = strings.SplitN(err.Error(), "\n", 2)[0]
			}
			say(ended)
		}(model)
	}
	running.Wait()
}
