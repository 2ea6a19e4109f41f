//! The virtual environment and the programs that run in it.

use std::time::Duration;

use kombu_brokers::{ChildProcess, PATIENCE, PythonKombu, target_dir};
use serde_json::json;

#[test]
fn kombu_celery_and_what_they_need_are_there() {
    let source = "
import brotli, celery, kombu, msgpack, redis, yaml
try:
    import compression.zstd
except ImportError:
    import backports.zstd
from kombu.serialization import registry
from kombu.compression import encoders
print(kombu.__version__, celery.__version__)
print(sorted(n for n in registry._encoders), sorted(encoders()))
";
    let text = PythonKombu::shared().run(source, &[], b"").success();
    let mut lines = text.lines();
    let versions = lines.next().unwrap();
    assert!(versions.split(' ').all(|version| version.starts_with("5.7.")), "{versions}");
    let names = lines.next().unwrap();
    for name in ["json", "msgpack", "pickle", "yaml", "x-gzip", "x-bz2", "x-lzma", "zstd", "x-brotli"] {
        assert!(names.contains(name), "{name} is missing in {names}");
    }
}

#[test]
fn arguments_input_output_and_failure_are_seen() {
    let source = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit('broken')";
    let output = PythonKombu::shared().run(source, &["a", "b c"], "grüße".as_bytes());
    assert_eq!(output.stdout, "['a', 'b c'] grüße\n");
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(1), "broken\n"));
}

#[test]
fn a_conversation_goes_on_until_killed() {
    let source = "
import json, sys
print('noise')
for line in sys.stdin:
    print(json.dumps({'heard': json.loads(line)}))
";
    let mut python = PythonKombu::shared().spawn(source, &[]);
    for question in [json!({"a": [1, null, "ü"]}), json!(2), json!("three")] {
        assert_eq!(python.ask(&question, PATIENCE), json!({"heard": question}));
    }
    assert_eq!(python.try_recv(Duration::ZERO), None);
    python.kill();
    assert!(!python.process().is_running());
    assert_eq!(python.try_recv(PATIENCE), None);
}

#[test]
fn the_environment_is_kept_out_of_the_source_tree() {
    let python = PythonKombu::shared().python();
    assert!(python.starts_with(target_dir()), "{}", python.display());
}

#[test]
fn a_python_without_venv_is_an_error_that_says_how_to_install_it() {
    use std::os::unix::fs::PermissionsExt;
    // What Debian's python3 says when python3-venv is missing.
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python3");
    std::fs::write(&python, "#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = PythonKombu::prepare_in(folder.path(), python.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("apt-get install python3-venv"), "{error}");
    assert!(error.contains("ensurepip is not available"), "{error}");
    let error = PythonKombu::prepare_in(folder.path(), "kombu-no-python").unwrap_err().to_string();
    assert!(error.contains("`kombu-no-python` is not installed"), "{error}");
}

#[test]
fn many_processes_that_need_it_at_once_make_it_once() {
    let parent = tempfile::tempdir().unwrap();
    let count = parent.path().join("made");
    let children: Vec<ChildProcess> = (0..3)
        .map(|_| {
            let child = ChildProcess::this_test("one_that_needs_it");
            child.env("KOMBU_TEST_PARENT", parent.path()).env("KOMBU_TEST_COUNT", &count).spawn()
        })
        .collect();
    for mut child in children {
        assert_eq!(child.recv_json(PATIENCE * 10), json!({"ready": true}));
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "venv\npip\n");
}

#[test]
#[ignore = "run by many_processes_that_need_it_at_once_make_it_once"]
fn one_that_needs_it() {
    use std::os::unix::fs::PermissionsExt;
    // An interpreter that only notes what it is asked to do: the network is not what is tested here.
    let parent = std::path::PathBuf::from(std::env::var_os("KOMBU_TEST_PARENT").unwrap());
    let own = tempfile::tempdir().unwrap();
    let python = own.path().join("python3");
    let script = "#!/bin/sh
echo \"$2\" >> \"$KOMBU_TEST_COUNT\"
if [ \"$2\" = venv ]; then mkdir -p \"$3/bin\" && cp \"$0\" \"$3/bin/python\"; fi
";
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    PythonKombu::prepare_in(&parent, python.to_str().unwrap()).unwrap();
    println!("{}", json!({"ready": true}));
}
