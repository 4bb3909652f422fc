#!/usr/bin/env python3
"""Validates classic (v1) Grafana dashboard JSON against grafana-foundation-sdk JSON schemas (Apache-2.0).
 --lax : drop 'required' (real dashboards omit defaults).  Always: cue 'any' nodes, rendered by cog as open objects, are loosened to {}."""
import json,sys,copy,os,jsonschema
B=os.path.join(os.path.dirname(os.path.abspath(__file__)),'schema')
def load(n): return json.load(open(f'{B}/{n}.jsonschema.json'))
def fix(x,lax):
    if isinstance(x,dict):
        if x.get('type')=='object' and x.get('additionalProperties')=={} and 'properties' not in x:
            return {k:v for k,v in x.items() if k not in('type','additionalProperties')}
        if 'oneOf' in x: x={**{k:v for k,v in x.items() if k!='oneOf'},'anyOf':x['oneOf']}  # cog drops union discriminators
        y={k:fix(v,lax) for k,v in x.items() if not(lax and k=='required' and isinstance(v,list))}
        # nullable threshold value (-Infinity base step is written as null)
        return y
    if isinstance(x,list): return [fix(v,lax) for v in x]
    return x
def validator(name,ref,lax):
    s=fix(load(name),lax); s['$ref']='#/definitions/'+ref; s.pop('anyOf',None); return jsonschema.Draft7Validator(s)
PLUG={'timeseries':'timeseries','stat':'stat','state-timeline':'statetimeline','heatmap':'heatmap','table':'table','gauge':'gauge','bargauge':'bargauge','text':'text','histogram':'histogram','status-history':'statushistory','annolist':'annotationslist','logs':'logs','barchart':'barchart','dashlist':'dashboardlist'}
def check(d,lax=False):
    out=[]
    top=copy.deepcopy(d); panels=top.pop('panels',[]) or []
    top['panels']=[]
    for e in validator('dashboard','Dashboard',lax).iter_errors(top): out.append(('/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
    VP=validator('dashboard','Panel',lax); VR=validator('dashboard','RowPanel',lax); VQ=None
    def one(p,path):
        if p.get('type')=='row':
            q=dict(p); kids=q.get('panels') or []; q['panels']=[]
            for e in VR.iter_errors(q): out.append((path+'/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
            for i,k in enumerate(kids): one(k,f'{path}/panels/{i}')
            return
        for e in VP.iter_errors(p): out.append((path+'/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
        n=PLUG.get(p.get('type'))
        if n:
            defs=load(n)['definitions']
            if 'Options' in defs and 'options' in p:
                for e in validator(n,'Options',lax).iter_errors(p['options']): out.append((path+'/options/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
            c=(p.get('fieldConfig') or {}).get('defaults',{}).get('custom')
            if 'FieldConfig' in defs and c is not None:
                for e in validator(n,'FieldConfig',lax).iter_errors(c): out.append((path+'/fieldConfig/defaults/custom/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
        for i,t in enumerate(p.get('targets') or []):
            if (t.get('datasource') or {}).get('type')=='prometheus':
                for e in validator('prometheus','Dataquery',lax).iter_errors(t): out.append((f'{path}/targets/{i}/'+'/'.join(map(str,e.absolute_path)),e.message[:160]))
    for i,p in enumerate(panels): one(p,f'/panels/{i}')
    return out
if __name__=='__main__':
    lax='--lax' in sys.argv; rc=0
    for f in [a for a in sys.argv[1:] if not a.startswith('--')]:
        es=check(json.load(open(f)),lax); print(f,'OK' if not es else f'{len(es)} errors'); rc|=bool(es)
        for p,m in es[:12]: print('   ',p,m)
    sys.exit(rc)
