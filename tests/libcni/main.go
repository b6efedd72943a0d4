// Command libcni drives a CNI plugin through the reference client library, as container runtimes do.
//
// Usage: libcni BIN_DIR CONFIG_DIR CACHE_DIR NETNS_A NETNS_B
//
// The configuration is found and read by the library. It runs each command for each version of the specification,
// with repetitions and failures where the specification says what has to come of them. Whatever does not is the exit
// status 1 and a line that names it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// The plugin's own code for something that belongs to another.
const codeTaken = 101

func main() {
	if len(os.Args) != 6 {
		fail("arguments", errors.New("BIN_DIR CONFIG_DIR CACHE_DIR NETNS_A NETNS_B are wanted"))
	}
	client := libcni.NewCNIConfigWithCacheDir([]string{os.Args[1]}, os.Args[3], nil)
	ctx := context.Background()
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		list := load(os.Args[2], version)
		features, err := client.ValidateNetworkList(ctx, list)
		must(version+" VERSION", err)
		if len(features) != 1 || features[0] != "portMappings" {
			fail(version+" capabilities", fmt.Errorf("%v", features))
		}
		if version == "1.1.0" {
			must("STATUS", client.GetStatusNetworkList(ctx, list))
		}
		lifeOfAPod(ctx, client, list, runtime(os.Args[4], 0))
	}
	list := load(os.Args[2], "1.1.0")
	onePortOnePod(ctx, client, list)
	collectGarbage(ctx, client, list)
	fmt.Println("ok")
}

// ADD, CHECK, DEL and DEL again, and the result's form.
func lifeOfAPod(ctx context.Context, client libcni.CNI, list *libcni.NetworkConfigList, pod *libcni.RuntimeConf) {
	version := list.CNIVersion
	result, err := client.AddNetworkList(ctx, list, pod)
	must(version+" ADD", err)
	if result.Version() != version {
		fail(version+" ADD", fmt.Errorf("the result has version %s", result.Version()))
	}
	converted, err := current.NewResultFromResult(result)
	must(version+" result", err)
	if len(converted.IPs) != 2 || len(converted.Routes) != 2 || len(converted.Interfaces) != 2 {
		fail(version+" result", fmt.Errorf("%v", converted))
	}
	for _, ip := range converted.IPs {
		if ip.Interface == nil || converted.Interfaces[*ip.Interface].Sandbox != pod.NetNS {
			fail(version+" result", fmt.Errorf("%v is not on the pod's interface", ip))
		}
	}
	if version != "0.3.1" {
		must(version+" CHECK", client.CheckNetworkList(ctx, list, pod))
	}
	must(version+" DEL", client.DelNetworkList(ctx, list, pod))
	must(version+" repeated DEL", client.DelNetworkList(ctx, list, pod))
	gone := *pod
	gone.NetNS = ""
	must(version+" DEL without a namespace", client.DelNetworkList(ctx, list, &gone))
}

// A host port is one pod's at a time.
func onePortOnePod(ctx context.Context, client libcni.CNI, list *libcni.NetworkConfigList) {
	a, b := runtime(os.Args[4], 8099), runtime(os.Args[5], 8099)
	_, err := client.AddNetworkList(ctx, list, a)
	must("ADD with a host port", err)
	must("CHECK with a host port", client.CheckNetworkList(ctx, list, a))
	_, err = client.AddNetworkList(ctx, list, b)
	var wire *types.Error
	if !errors.As(err, &wire) || wire.Code != codeTaken || !strings.Contains(wire.Msg, a.ContainerID) {
		fail("ADD with a host port that is taken", fmt.Errorf("came to %v", err))
	}
	must("DEL with a host port", client.DelNetworkList(ctx, list, a))
	_, err = client.AddNetworkList(ctx, list, b)
	must("ADD with a host port that is free again", err)
	must("DEL with a host port", client.DelNetworkList(ctx, list, b))
}

// GC with a cache that knows nothing of the stale pod, so that the plugin's own GC has to find it.
func collectGarbage(ctx context.Context, client *libcni.CNIConfig, list *libcni.NetworkConfigList) {
	kept, stale := runtime(os.Args[4], 0), runtime(os.Args[5], 0)
	forgetful := libcni.NewCNIConfigWithCacheDir([]string{os.Args[1]}, filepath.Join(os.Args[3], "other"), nil)
	_, err := client.AddNetworkList(ctx, list, kept)
	must("ADD", err)
	_, err = forgetful.AddNetworkList(ctx, list, stale)
	must("ADD", err)
	valid := []types.GCAttachment{{ContainerID: kept.ContainerID, IfName: kept.IfName}}
	must("GC", client.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid}))
	must("CHECK after GC", client.CheckNetworkList(ctx, list, kept))
	if forgetful.CheckNetworkList(ctx, list, stale) == nil {
		fail("GC", errors.New("left the stale attachment"))
	}
	must("DEL", client.DelNetworkList(ctx, list, kept))
}

// The pod in a namespace, named by the last part of its path.
func runtime(netns string, hostPort int) *libcni.RuntimeConf {
	name := filepath.Base(netns)
	conf := &libcni.RuntimeConf{
		ContainerID: name,
		NetNS:       netns,
		IfName:      "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", "default"},
			{"K8S_POD_NAME", name},
		},
	}
	if hostPort != 0 {
		mapping := map[string]any{"hostPort": hostPort, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
		conf.CapabilityArgs = map[string]any{"portMappings": []any{mapping}}
	}
	return conf
}

// The configuration that runtimes would take, at another version.
func load(dir, version string) *libcni.NetworkConfigList {
	files, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	must("find configurations", err)
	if len(files) != 1 {
		fail("find configurations", fmt.Errorf("%v", files))
	}
	bytes, err := os.ReadFile(files[0])
	must("read "+files[0], err)
	text := strings.Replace(string(bytes), `"1.1.0"`, `"`+version+`"`, 1)
	list, err := libcni.ConfListFromBytes([]byte(text))
	must("read "+files[0], err)
	return list
}

func must(what string, err error) {
	if err != nil {
		fail(what, err)
	}
}

func fail(what string, err error) {
	fmt.Printf("%s: %v\n", what, err)
	os.Exit(1)
}
