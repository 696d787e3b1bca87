package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

const testImage = "testimage:1"

var buildTestImage = sync.OnceValues(func() (lab.Image, error) {
	return cluster.BuildImage(context.Background(), testImage, "./test/lab/testimage")
})

// onSystemNode makes a pod run the test image there; POD_IP is where it listens.
func onSystemNode(t *testing.T, args ...string) func(*corev1.Pod) {
	t.Helper()
	if _, err := buildTestImage(); err != nil {
		t.Fatal(err)
	}
	return func(pod *corev1.Pod) { systemPod(&pod.Spec, args...) }
}

func systemPod(spec *corev1.PodSpec, args ...string) {
	spec.NodeSelector = map[string]string{lab.LabelSystemNode: "true"}
	spec.Tolerations = []corev1.Toleration{{Key: lab.TaintSystemNode, Operator: corev1.TolerationOpExists}}
	spec.Containers[0].Image = testImage
	spec.Containers[0].Args = args
	spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	spec.Containers[0].Env = []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"},
	}}}
}

func healthProbe(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}},
		PeriodSeconds: period, FailureThreshold: failures,
	}
}

// inside is what the test image finds in its container.
type inside struct {
	Hostname string
	UID, PID int
	Args     []string
	Env      []string
	Files    map[string]string
	Writes   map[string]string
}

// ask calls a pod of the system node through the API server, as `kubectl get --raw` does.
func ask(ctx context.Context, pod *corev1.Pod, path string, query url.Values) ([]byte, error) {
	request := cluster.Clientset().CoreV1().RESTClient().Get().Namespace(pod.Namespace).Resource("pods").
		Name(pod.Name + ":8080").SubResource("proxy").Suffix(path)
	for key, values := range query {
		for _, value := range values {
			request = request.Param(key, value)
		}
	}
	return request.DoRaw(ctx)
}

func lookInside(t *testing.T, pod *corev1.Pod, query url.Values) inside {
	t.Helper()
	content, err := ask(t.Context(), pod, "inside", query)
	if err != nil {
		t.Fatalf("looking inside pod %s: %v", pod.Name, err)
	}
	var found inside
	if err := json.Unmarshal(content, &found); err != nil {
		t.Fatalf("decoding %q: %v", content, err)
	}
	return found
}

func TestSystemNodeVolumesEnvironmentAndUser(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	ctx := t.Context()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "config"}, Data: map[string]string{"key": "one", "OTHER": "two"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "secret"}, StringData: map[string]string{"password": "hidden"}}
	if err := errors.Join(cluster.Client().Create(ctx, config), cluster.Client().Create(ctx, secret)); err != nil {
		t.Fatal(err)
	}
	yes, no, user := true, false, int64(65532)
	pod := makePod(namespace, "rich", onSystemNode(t, "serve", "--port=$(PORT)"), func(pod *corev1.Pod) {
		c := &pod.Spec.Containers[0]
		c.Env = append(c.Env,
			corev1.EnvVar{Name: "PORT", Value: "8080"}, corev1.EnvVar{Name: "URL", Value: "http://$(POD_IP):$(PORT)/$(NOBODY)"},
			corev1.EnvVar{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Key: "password",
			}}},
			corev1.EnvVar{Name: "APP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
		)
		c.EnvFrom = []corev1.EnvFromSource{{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}}
		c.SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: &yes, AllowPrivilegeEscalation: &no, RunAsUser: &user, RunAsNonRoot: &yes}
		c.VolumeMounts = []corev1.VolumeMount{
			{Name: "config", MountPath: "/etc/config"}, {Name: "secret", MountPath: "/secret", ReadOnly: true},
			{Name: "config", MountPath: "/single/file", SubPath: "key"}, {Name: "scratch", MountPath: "/scratch"}, {Name: "down", MountPath: "/down"},
		}
		pod.Spec.Volumes = []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}},
			{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret"}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "down", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			}}}},
		}
		pod.Spec.Containers[0].ReadinessProbe = healthProbe(1, 1)
	})
	create(t, pod)
	running := eventuallyReady(t, pod)
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	found := lookInside(t, pod, url.Values{
		"file":  {"/etc/config/key", "/secret/password", "/single/file", "/down/labels", account + "namespace", account + "token", account + "ca.crt"},
		"write": {"/", "/scratch", "/etc/config"},
	})

	address := strings.Replace(running.Status.PodIP, "203.0.113.", localPrefix(t, pod), 1)
	for _, want := range []string{
		"POD_IP=" + address, "URL=http://" + address + ":8080/$(NOBODY)", "PASSWORD=hidden", "APP=rich", "CM_key=one", "CM_OTHER=two",
	} {
		if !slices.Contains(found.Env, want) {
			t.Errorf("no variable %s in %q", want, found.Env)
		}
	}
	for name, want := range map[string]string{
		"/etc/config/key": "one", "/secret/password": "hidden", "/single/file": "one", "/down/labels": `app="rich"`, account + "namespace": namespace,
	} {
		if got := found.Files[name]; got != want {
			t.Errorf("file %s is %q, want %q", name, got, want)
		}
	}
	if found.Hostname != "rich" || found.PID != 1 || found.UID != 65532 {
		t.Errorf("host name %q, process %d, user %d; want rich, 1, 65532", found.Hostname, found.PID, found.UID)
	}
	if found.Writes["/"] == "" || found.Writes["/etc/config"] == "" || found.Writes["/scratch"] != "" {
		t.Errorf("writing: %v; want errors for / and /etc/config only", found.Writes)
	}
	checkToken(t, found.Files[account+"token"], namespace)
	checkUpdate(t, pod, config)
}

// localPrefix is the lab's own network, as far as the last dot.
func localPrefix(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	pods, err := cluster.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Name == pod.Name && p.Namespace == pod.Namespace {
			return p.Address[:strings.LastIndexByte(p.Address, '.')+1]
		}
	}
	t.Fatalf("the system node does not know pod %s", pod.Name)
	return ""
}

// checkToken uses a pod's token: it must be that of its service account.
func checkToken(t *testing.T, token, namespace string) {
	t.Helper()
	name, err := cluster.Kubectl(t.Context(), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", "--token="+token, "--kubeconfig="+tokenless(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := "system:serviceaccount:" + namespace + ":default"; name != want {
		t.Errorf("the token is that of %q, want %q", name, want)
	}
}

// tokenless is a kubeconfig without credentials.
func tokenless(t *testing.T) string {
	t.Helper()
	file := t.TempDir() + "/kubeconfig"
	view, err := cluster.Kubectl(t.Context(), "config", "view", "--raw", "--minify", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(view), &config); err != nil {
		t.Fatal(err)
	}
	config["users"] = []any{}
	content, err := json.Marshal(config)
	if err := errors.Join(err, os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return file
}

// checkUpdate changes a config map and waits until the pod sees it.
func checkUpdate(t *testing.T, pod *corev1.Pod, config *corev1.ConfigMap) {
	t.Helper()
	config.Data["key"] = "changed"
	if err := cluster.Client().Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "changed file in the pod", func(ctx context.Context) error {
		content, err := ask(ctx, pod, "inside", url.Values{"file": {"/etc/config/key"}})
		if err != nil || !bytes.Contains(content, []byte(`"changed"`)) {
			return fmt.Errorf("found %s: %w", content, err)
		}
		return nil
	})
}

func TestSystemNodeProbes(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "probed", onSystemNode(t, "serve"), func(pod *corev1.Pod) {
		c := &pod.Spec.Containers[0]
		c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1, FailureThreshold: 30}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/testimage", "cat", "/etc/hostname"}}}, PeriodSeconds: 1}
		c.LivenessProbe = healthProbe(1, 2)
	})
	create(t, pod)
	eventuallyReady(t, pod)
	if _, err := ask(t.Context(), pod, "sick", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, pod, "restart by the liveness probe", func(pod *corev1.Pod) error {
		status := pod.Status.ContainerStatuses[0]
		if status.RestartCount != 1 || status.LastTerminationState.Terminated == nil {
			return fmt.Errorf("%d restarts, last state %v", status.RestartCount, status.LastTerminationState)
		}
		return isReady(pod)
	})
}

func TestSystemNodeReadinessGoesAndComes(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "moody", onSystemNode(t, "serve"), func(pod *corev1.Pod) {
		pod.Spec.Containers[0].ReadinessProbe = healthProbe(1, 1)
	})
	create(t, pod)
	eventuallyReady(t, pod)
	if _, err := ask(t.Context(), pod, "sick", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, pod, "not ready", func(pod *corev1.Pod) error {
		if isReady(pod) == nil {
			return fmt.Errorf("conditions %v", pod.Status.Conditions)
		}
		return nil
	})
	if _, err := ask(t.Context(), pod, "well", nil); err != nil {
		t.Fatal(err)
	}
	eventuallyReady(t, pod)
}

func TestSystemNodeExitCodes(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	for _, tc := range []struct {
		name   string
		code   string
		policy corev1.RestartPolicy
		phase  corev1.PodPhase
	}{
		{"succeeds", "0", corev1.RestartPolicyNever, corev1.PodSucceeded},
		{"fails", "3", corev1.RestartPolicyNever, corev1.PodFailed},
		{"succeeds-on-failure", "0", corev1.RestartPolicyOnFailure, corev1.PodSucceeded},
	} {
		pod := makePod(namespace, tc.name, onSystemNode(t, "exit", tc.code), func(pod *corev1.Pod) { pod.Spec.RestartPolicy = tc.policy })
		create(t, pod)
		ended := eventually(t, pod, "end", func(pod *corev1.Pod) error {
			if pod.Status.Phase != tc.phase {
				return fmt.Errorf("phase %s", pod.Status.Phase)
			}
			return nil
		})
		state := ended.Status.ContainerStatuses[0].State.Terminated
		if state == nil || fmt.Sprint(state.ExitCode) != tc.code || state.Message != "told to exit" || ended.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("%s: ended as %v, want code %s and the message that it left", tc.name, ended.Status.ContainerStatuses[0], tc.code)
		}
		deletePod(t, pod)
		eventuallyGone(t, pod)
	}
}

func TestSystemNodeRestarts(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	crashing := makePod(namespace, "crashing", onSystemNode(t, "exit", "1"))
	create(t, crashing)
	eventually(t, crashing, "crash loop", func(pod *corev1.Pod) error {
		status, err := statusOf(pod, "main")
		if err != nil || status.RestartCount == 0 || status.LastTerminationState.Terminated == nil {
			return fmt.Errorf("status %v: %w", status, err)
		}
		return isWaiting("main", "CrashLoopBackOff")(pod)
	})

	killed := makePod(namespace, "killed", onSystemNode(t, "serve"))
	create(t, killed)
	eventuallyReady(t, killed)
	if err := cluster.KillContainer(t.Context(), namespace, killed.Name, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, killed, "restart after kill -9", func(pod *corev1.Pod) error {
		status := pod.Status.ContainerStatuses[0]
		last := status.LastTerminationState.Terminated
		if last == nil || last.ExitCode != 137 || status.RestartCount != 1 {
			return fmt.Errorf("status %v", status)
		}
		return isReady(pod)
	})
	if out, err := cluster.Kubectl(t.Context(), "-n", namespace, "logs", killed.Name, "--previous"); err != nil || !strings.Contains(out, "started as killed") {
		t.Errorf("log of the run before: %q, %v", out, err)
	}
}

func TestSystemNodeStopsGracefully(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	graceful := makePod(namespace, "graceful", onSystemNode(t, "serve"))
	create(t, graceful)
	eventuallyReady(t, graceful)
	log := containerOf(t, graceful).Log
	deletePod(t, graceful)
	eventuallyGone(t, graceful)
	if content, err := os.ReadFile(log); err != nil || !strings.Contains(string(content), "stopped") {
		t.Errorf("log after a graceful stop is %q (%v), want stopped in it", content, err)
	}

	// This one would go on for an hour: the grace period ends it.
	stubborn := makePod(namespace, "stubborn", onSystemNode(t, "serve", "--stop-after=1h"), func(pod *corev1.Pod) {
		pod.Spec.TerminationGracePeriodSeconds = new(int64(1))
	})
	create(t, stubborn)
	eventuallyReady(t, stubborn)
	pid := containerOf(t, stubborn).PID
	deletePod(t, stubborn)
	eventuallyGone(t, stubborn)
	// The API forgets the pod when its time is over, and so does the kill: which comes first is open.
	labtest.Eventually(t, "the process ends with its pod", func(context.Context) error {
		if processExists(pid) {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	})
}

func containerOf(t *testing.T, pod *corev1.Pod) lab.Container {
	t.Helper()
	pods, err := cluster.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.UID == string(pod.UID) {
			return p.Containers[len(p.Containers)-1]
		}
	}
	t.Fatalf("the system node does not know pod %s", pod.Name)
	return lab.Container{}
}

func TestSystemNodeLogsAndExec(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "talking", onSystemNode(t, "serve"))
	create(t, pod)
	eventuallyReady(t, pod)
	labtest.Eventually(t, "log", func(ctx context.Context) error {
		out, err := cluster.Kubectl(ctx, "-n", pod.Namespace, "logs", pod.Name)
		if err != nil || !strings.Contains(out, "started as talking") {
			return fmt.Errorf("log %q: %w", out, err)
		}
		return nil
	})
	out, err := cluster.Kubectl(t.Context(), "-n", pod.Namespace, "exec", pod.Name, "--", "/testimage", "cat", "/etc/hostname")
	if err != nil || strings.TrimSpace(out) != "talking" {
		t.Errorf("exec printed %q, want talking (%v)", out, err)
	}
}

func TestSystemNodeImages(t *testing.T) {
	t.Parallel()
	image, err := buildTestImage()
	if err != nil {
		t.Fatal(err)
	}
	pod := makePod(labtest.Namespace(t, cluster), "imaged", onSystemNode(t, "serve"), func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "unheard-of:1" })
	create(t, pod)
	eventually(t, pod, "image to be missing", isWaiting("main", "ImagePullBackOff"))
	if err := cluster.SetImage(t.Context(), "unheard-of:1", image); err != nil {
		t.Fatal(err)
	}
	eventuallyReady(t, pod)

	// In place: same pod, new process.
	before := containerOf(t, pod).PID
	setImage(t, pod, "containers", 0, testImage)
	eventually(t, pod, "image changed in place", func(pod *corev1.Pod) error {
		status := pod.Status.ContainerStatuses[0]
		if status.Image != testImage || status.RestartCount != 1 {
			return fmt.Errorf("status %v", status)
		}
		return isReady(pod)
	})
	if after := containerOf(t, pod).PID; after == before || processExists(before) {
		t.Errorf("process %d goes on after the change of image (now %d)", before, after)
	}
}

func TestSystemNodeInitContainersAndSidecars(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	pod := makePod(labtest.Namespace(t, cluster), "staged", onSystemNode(t, "exit", "0"), func(pod *corev1.Pod) {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		env := pod.Spec.Containers[0].Env
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "sidecar", Image: testImage, Args: []string{"serve"}, RestartPolicy: &always, Env: env},
			{Name: "init", Image: testImage, Args: []string{"exit", "0"}},
		}
	})
	create(t, pod)
	eventually(t, pod, "end", func(pod *corev1.Pod) error {
		if pod.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("phase %s, %v", pod.Status.Phase, pod.Status.InitContainerStatuses)
		}
		for _, name := range []string{"sidecar", "init"} { // the sidecar ends after the pod's own containers
			status, err := statusOf(pod, name)
			if err != nil {
				return err
			}
			if status.State.Terminated == nil {
				return fmt.Errorf("container %s has not ended: %v", name, status.State)
			}
		}
		return nil
	})
}

func TestSystemNodeRefusesRootWhereNoneMayBe(t *testing.T) {
	t.Parallel()
	yes := true
	pod := makePod(labtest.Namespace(t, cluster), "rootless", onSystemNode(t, "serve"), func(pod *corev1.Pod) {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
	})
	create(t, pod)
	eventually(t, pod, "refused", isWaiting("main", "CreateContainerConfigError"))
}

// The address in the status is the API's; the process itself answers on this machine.
func TestSystemNodeAddressOfThisMachine(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "direct", onSystemNode(t, "serve"))
	create(t, pod)
	eventuallyReady(t, pod)
	prefix := localPrefix(t, pod)
	found := eventuallyReady(t, pod)
	target := "http://" + strings.Replace(found.Status.PodIP, "203.0.113.", prefix, 1) + ":8080/healthz"
	labtest.Eventually(t, target, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
}
