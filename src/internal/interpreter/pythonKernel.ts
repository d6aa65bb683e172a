/** The program that runs in the guest for a Python context. Python 3.8 or newer, nothing but its own library. */
export const source = String.raw`
import ast, base64, builtins, json, linecache, os, signal, sys, traceback, types


def main():
    requests, output, errors = os.dup(0), os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    pid = os.getpid()

    def limit(soft):
        pass

    code_limit = own_limit = None

    def receive():
        pieces, piece = [], b""
        while not piece.endswith(b"\n"):
            try:
                piece = os.read(requests, 65536)
            except MemoryError:
                limit(own_limit)
                piece = os.read(requests, 65536)
            if not piece:
                os._exit(0)
            limit(own_limit)
            pieces.append(piece)
        return json.loads(b"".join(pieces))

    config = receive()
    marker = config["marker"].encode()

    def write(fd, data):
        while True:
            try:
                return os.write(fd, data)
            except BlockingIOError:
                import select
                select.select([], [fd], [])

    # Frames are shorter than what a pipe takes in one piece, so that other writers cannot split them.
    def send(fd, message):
        data = json.dumps(message).encode()
        pieces = [data[i : i + 3900] for i in range(0, len(data), 3900)]
        for i, piece in enumerate(pieces):
            is_last = i == len(pieces) - 1
            kind = (b"S" if is_last else b"F") if i == 0 else (b"L" if is_last else b"M")
            write(fd, marker + kind + b"%04d" % len(piece) + piece)

    # Only the code is limited, or telling that its memory ran out would fail. Changing the limit itself takes no memory.
    if config["memory"] is not None:
        import functools, resource
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_AS)
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        code_limit, own_limit = (config["memory"], most), (most, most)

    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    namespace = module.__dict__
    namespace["__builtins__"] = builtins

    state = types.SimpleNamespace(running=False, room=0, truncated=False, loop=None)

    def on_interrupt(number, frame):
        if state.running:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)

    def emit(data):
        fitting = {}
        for kind, value in sorted(data.items(), key=lambda item: len(item[1])):
            if len(kind) + len(value) > state.room:
                state.truncated = True
                if kind != "text/plain" or len(kind) >= state.room:
                    continue
                value = value[: state.room - len(kind)]
            state.room -= len(kind) + len(value)
            fitting[kind] = value
        if fitting:
            state.room -= 256
            send(output, {"_tag": "Result", "data": fitting})

    methods = {
        "_repr_html_": "text/html",
        "_repr_markdown_": "text/markdown",
        "_repr_latex_": "text/latex",
        "_repr_svg_": "image/svg+xml",
        "_repr_png_": "image/png",
        "_repr_jpeg_": "image/jpeg",
        "_repr_json_": "application/json",
    }

    def text_of(kind, value):
        if isinstance(value, (bytes, bytearray)):
            return base64.b64encode(value).decode()
        if isinstance(value, str) and kind != "application/json":
            return value
        return json.dumps(value, allow_nan=False) if kind.endswith("json") else None

    def add(data, kind, value):
        try:
            text = None if value is None else text_of(kind, value)
        except Exception:
            return
        if isinstance(kind, str) and text is not None:
            data[kind] = text

    def ask(value, name, *args):
        try:
            result = getattr(value, name)(*args)
        except Exception:
            return None
        return result[0] if isinstance(result, tuple) and result else result

    def bundle(value):
        data = {"text/plain": repr(value)}
        if isinstance(value, type):
            return data
        for name, kind in methods.items():
            add(data, kind, ask(value, name))
        bundled = ask(value, "_repr_mimebundle_")
        if isinstance(bundled, dict):
            for kind, given in bundled.items():
                add(data, kind, given)
        if isinstance(value, (bool, int, float, str, list, dict, tuple)):
            add(data, "application/json", value)
        return data

    def png_of(figure):
        import io
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight")
        return {"text/plain": repr(figure), "image/png": base64.b64encode(buffer.getvalue()).decode()}

    def is_figure(value):
        figures = sys.modules.get("matplotlib.figure")
        return figures is not None and isinstance(value, figures.Figure)

    def display(*values):
        """Emits values as results, as the last expression of the code is."""
        for value in values:
            if is_figure(value):
                emit(png_of(value))
                plots = sys.modules.get("matplotlib.pyplot")
                if plots is not None:
                    plots.close(value)
            else:
                emit(bundle(value))

    namespace["display"] = display

    def show(*args, **kwargs):
        plots = sys.modules.get("matplotlib.pyplot")
        for number in plots.get_fignums() if plots is not None else []:
            display(plots.figure(number))

    # Without a screen, the show of matplotlib only warns.
    class ShowHook:
        def find_spec(self, name, path=None, target=None):
            if name != "matplotlib.pyplot":
                return None
            import importlib.util
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            if spec is None or spec.loader is None:
                return spec
            execute = spec.loader.exec_module

            def execute_and_replace(module):
                execute(module)
                module.show = show

            spec.loader.exec_module = execute_and_replace
            return spec

    os.environ.setdefault("MPLBACKEND", "agg")
    sys.meta_path.insert(0, ShowHook())

    def evaluate(code):
        if not code.co_flags & 0x80:
            return eval(code, namespace)
        import asyncio
        if state.loop is None or state.loop.is_closed():
            state.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(state.loop)
        task = state.loop.create_task(eval(code, namespace))
        try:
            return state.loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()

    def flush():
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            try:
                stream.flush()
            except Exception:
                pass

    def run(code, name):
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree = ast.parse(code, name, "exec")
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        evaluate(compile(tree, name, "exec", flags, True))
        if last is not None:
            value = evaluate(compile(last, name, "eval", flags, True))
            if value is not None and not code.rstrip().endswith(";"):
                display(value)
        show()

    def describe(error):
        trace = error.__traceback__
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
            trace = trace.tb_next
        try:
            message = str(error)
        except Exception:
            message = ""
        try:
            lines = traceback.format_exception(type(error), error, trace)
        except Exception:
            lines = [type(error).__name__]
        text = "".join(lines)
        if len(text) > 65536:
            text = text[:32768] + "\n...\n" + text[-32768:]
        return {"_tag": "Error", "name": type(error).__name__, "message": message[:65536], "traceback": text}

    send(output, {"_tag": "Ready"})
    number = 0
    while True:
        limit(code_limit)
        request = receive()
        number += 1
        state.room, state.truncated = request["maxResults"], False
        failure = None
        try:
            state.running = True
            try:
                limit(code_limit)
                send(output, {"_tag": "Started"})
                run(request["code"], "<cell %d>" % number)
            finally:
                state.running = False
                limit(own_limit)
        except SystemExit:
            if os.getpid() == pid:
                raise
            os._exit(0)
        except BaseException as error:
            state.running = False
            limit(own_limit)
            failure = describe(error)
        # A copy that the code has made of this process.
        if os.getpid() != pid:
            os._exit(0)
        flush()
        if failure is not None:
            send(output, failure)
        send(output, {"_tag": "Ended", "truncated": state.truncated})
        send(errors, {"_tag": "Ended", "truncated": False})


main()
`
