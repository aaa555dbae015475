"""Looking at the stand-in and making it misbehave over HTTP, for people and for other processes.

    GET  /state       everything as JSON: workflows, reports, calls, violations, faults
    GET  /log         the lines that the command prints
    POST /fault       {"kind": ..., ...} as in faults.py; {"proxy": MODE, "times": N}; {"outage": MODE, "seconds": S};
                      {"web": KIND, "path": PATTERN, ...} as in web.py; {"clear": true}
    POST /restart     {"down_s": S}
    POST /delete      {"workflow": NAME}
    POST /workflow    a template as JSON, or {"template": PATH, "agent": ID, "values": {...}, "name": NAME}
"""

import json
import threading


def attach(web, server):
    """Serves the paths above on a WebServer for a TinkServer."""

    def post(path, function):
        def route(request):
            try:
                data = json.loads(request.body or b"{}")
            except json.JSONDecodeError as error:
                raise ValueError(f"not JSON: {error}") from None
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            try:
                return function(**data)
            except (TypeError, KeyError) as error:
                raise ValueError(str(error)) from None
        route.no_faults = True
        web.route("POST", path, route)

    def get(path, function):
        def route(request):
            return function()
        route.no_faults = True
        web.route("GET", path, route)

    def fault(kind=None, proxy=None, outage=None, clear=False, **fields):
        if clear:
            server.faults.clear()
            server.proxy.set("pass")
            web.clear_faults()
        elif proxy:
            server.proxy.set(proxy, **fields)
        elif outage:
            server.outage(outage, **fields)
        elif "web" in fields:
            web.fault(fields.pop("web"), **fields)
        elif kind:
            server.fault(kind, **fields)
        else:
            raise ValueError("one of kind, proxy, outage, web, clear is needed")
        return {"ok": True}

    def restart(down_s=0.0):
        threading.Thread(target=server.restart, args=(down_s,), daemon=True).start()
        return {"ok": True}

    def delete(workflow):
        server.delete(workflow)
        return {"ok": True}

    def workflow(template=None, agent=None, values=None, name=None, **data):
        if template is None:
            data["name"] = name or "workflow"
        return server.add(template or data, agent=agent, values=values, name=name).as_dict()

    get("/state", server.as_dict)
    get("/log", lambda: "".join(line + "\n" for line in server.lines))
    post("/fault", fault)
    post("/restart", restart)
    post("/delete", delete)
    post("/workflow", workflow)
