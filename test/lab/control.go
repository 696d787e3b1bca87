package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Kubelets of the lab are controlled over Unix sockets in its folder: who may enter the folder may
// turn the knobs.
const (
	virtualSocket = "virtual.sock"
	systemSocket  = "system.sock"
)

// control sends in, if any, as JSON to a kubelet and decodes its answer into out, if any.
func (l *Lab) control(ctx context.Context, socket, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request to %s: %w", socket, err)
		}
		body = bytes.NewReader(content)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, body)
	if err != nil {
		return fmt.Errorf("preparing the request to %s: %w", socket, err)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", l.path(socket))
	}}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", socket, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", socket, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, strings.TrimSpace(string(content)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(content, out); err != nil {
		return fmt.Errorf("decoding the answer of %s: %w", socket, err)
	}
	return nil
}
